"""What came of one call of the command line."""

from __future__ import annotations

import attrs


@attrs.frozen
class Outcome:
    status: int | None
    stdout: str
    stderr: str
