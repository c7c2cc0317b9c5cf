"""A model's folder: what it must hold, and how one is made whole or not at all."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class ModelUnavailable(Exception):
    """The model cannot be had; the message is one line for the person at the terminal."""


@dataclass(frozen=True)
class ModelFolder:
    """Where the model's files are, and the name it is served under unless the user gives another."""

    path: Path
    served_name: str


def check_folder(path: Path, named: str) -> None:
    """See that `path` holds what transformers needs; `named` is how the user called the model.

    Raises:
        ModelUnavailable: the configuration, the weights or the tokenizer are missing.
    """
    if not (path / "config.json").is_file():
        raise ModelUnavailable(f"{named} has no config.json; a model in Hugging Face's format has one.")
    if not any(path.glob("*.safetensors")):
        raise ModelUnavailable(f"{named} has no *.safetensors file; weights in other formats are not loaded.")
    if not any((path / name).is_file() for name in TOKENIZER_FILES):
        raise ModelUnavailable(f"{named} has no tokenizer (none of {', '.join(TOKENIZER_FILES)}).")


def make_once(folder: Path, fill: Callable[[Path], None]) -> None:
    """Make `folder` unless it is there: `fill(partial)` writes a hidden sibling, renamed when it is complete.

    One process fills at a time, the others wait and find it made. Whatever ends `fill` early, be it a
    killed process, leaves no `folder`, and the next call starts anew.

    Raises:
        OSError: the disk is full or not writable.
    """
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    with exclusive(folder.with_name(f".{folder.name}.lock")):
        if folder.is_dir():
            return
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            fill(partial)
            flush_to_disk(partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def exclusive(lock: Path) -> Iterator[None]:
    """Hold `lock`. The kernel lets go of it when the holder dies, so none is left behind."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def flush_to_disk(folder: Path) -> None:
    """Without this a power cut could keep the rename and lose the files' contents."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
