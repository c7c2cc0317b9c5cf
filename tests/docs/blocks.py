"""The shell commands of a document: its fenced `console` and `sh` blocks.

A block that cannot run in a test has a comment right above it: `<!-- not run: why -->`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>.+?) -->\n)?^```(?P<kind>console|sh)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    document: Path
    line: int
    script: str
    why_not: str | None


def blocks_of(document: Path) -> Iterator[Block]:
    text = document.read_text()
    for found in BLOCK.finditer(text):
        script = found["text"] if found["kind"] == "sh" else typed(found["text"])
        yield Block(document, text.count("\n", 0, found.start("text")) + 1, script, found["why"])


def typed(session: str) -> str:
    """What a person types: the lines behind a prompt, and those that go on from one."""
    lines: list[str] = []
    for line in session.splitlines():
        if line.startswith(PROMPT):
            lines.append(line.removeprefix(PROMPT))
        elif lines and (lines[-1].endswith("\\") or is_open(lines[-1])):
            lines[-1] += "\n" + line
    return "\n".join(lines)


def is_open(command: str) -> bool:
    """Whether a quotation goes on in the next line."""
    return command.count("'") % 2 == 1
