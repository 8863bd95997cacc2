"""Answers of the real director, cut down to what the tests beside this folder compare with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent


def load(name: str) -> Any:  # Any: each test knows the shape of its own file
    return json.loads((_FOLDER / name).read_text(encoding="utf-8"))
