"""Installed command lines, run as a person runs them but without the second that importing their libraries takes.

A fork server has those libraries. Each command is a process forked from it, with an environment, a folder and streams
of its own, which runs the installed script: the program itself is imported anew.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

LIBRARIES = ["asyncio", "httpx", "rich.progress", "rich.table", "typer.rich_utils"]
TIMEOUT_S = 120
STREAMS = ("input", "output", "errors")

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(LIBRARIES)


@dataclass(frozen=True)
class Done:
    exit_code: int
    output: str
    errors: str

    @property
    def text(self) -> str:
        return self.output + self.errors


@dataclass(frozen=True)
class Running:
    process: BaseProcess
    streams: Path

    def wait(self) -> Done:
        self.process.join(TIMEOUT_S)
        output, errors = ((self.streams / name).read_text() for name in STREAMS[1:])
        assert self.process.exitcode is not None, f"It does not end: {output}{errors}"
        return Done(self.process.exitcode, output, errors)

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def start(name: str, *arguments: str, environment: Mapping[str, str], folder: Path, typed: str = "") -> Running:
    """Run the script that is installed under this name beside Python; its input is a file, not a terminal."""
    streams = Path(tempfile.mkdtemp(prefix="streams-", dir=folder))
    for stream in STREAMS:
        (streams / stream).write_text(typed if stream == "input" else "")
    script = str(Path(sys.executable).with_name(name))
    process = forks.Process(target=run_script, args=(script, arguments, dict(environment), folder, streams))
    process.start()
    return Running(process, streams)


def run_script(
    script: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, streams: Path
) -> None:
    """In the new process."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, name in enumerate(STREAMS):
        os.dup2(os.open(streams / name, os.O_RDWR), number)
    sys.stdin = os.fdopen(0, closefd=False)
    sys.argv = [script, *arguments]
    runpy.run_path(script, run_name="__main__")
