"""The commands of the README's guide, by the heading they stand below."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"
GUIDE = "## From Dovecot 2.3 to 2.4"


def guide_blocks() -> dict[str, list[list[str]]]:
    """Return the blocks of commands below each heading of the guide, the guide's own included."""
    text = README.read_text().partition(f"{GUIDE}\n")[2].partition("\n## ")[0]
    heading = ""
    blocks: dict[str, list[list[str]]] = {heading: []}
    is_inside = False
    for line in text.splitlines():
        if line.startswith("### "):
            heading = line.removeprefix("### ")
            blocks[heading] = []
        is_command = line.startswith("    ")
        if is_command and not is_inside:
            blocks[heading].append([])
        if is_command:
            blocks[heading][-1].append(line.strip())
        is_inside = is_command
    return blocks


def commands_of(heading: str, *numbers: int) -> list[str]:
    """Return the commands of these blocks below a heading; all of them if none is named."""
    blocks = guide_blocks()[heading]
    return [line for n in numbers or range(len(blocks)) for line in blocks[n]]
