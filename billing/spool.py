"""Events on local disk while Postgres is away."""

import errno
import json
import os
import zlib
from itertools import islice
from pathlib import Path
from typing import Any

from billing.journal import sync_folder

REPLAY_BATCH = 500


class SpoolDamaged(Exception):
    """The spool does not hold what was written to it; it is left as it is."""


class Spool:
    """An append-only file of events, one a line behind its CRC-32. Used by one thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        is_new = not path.exists()
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if is_new:
            sync_folder(path.parent)
        self.drop_torn_end()

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    def append(self, events: list[dict[str, Any]]) -> None:
        """Write the events and sync them: when this returns they survive a power cut.

        Raises:
            OSError: they could not be written (a full disk); the spool is as it was.
        """
        before = self.size
        data = b"".join(line_of(event) for event in events)
        try:
            if os.write(self.descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fdatasync(self.descriptor)
        except OSError:
            os.ftruncate(self.descriptor, before)
            raise

    def read(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The next events in the order they were written, and the offset behind them; begin at 0."""
        with self.path.open("rb") as file:
            file.seek(offset)
            lines = list(islice(file, REPLAY_BATCH))
        return [event_in(line) for line in lines], offset + sum(map(len, lines))

    def clear(self) -> None:
        """Forget all events: they are in Postgres."""
        os.ftruncate(self.descriptor, 0)
        os.fsync(self.descriptor)

    def drop_torn_end(self) -> None:
        """Cut off what a crash left half written: its `append` never returned, so its intents are there.

        Raises:
            SpoolDamaged: a line before the end is not what was written. A person has to look.
        """
        whole = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not is_whole(line):
                    if any(map(is_whole, file)):
                        raise SpoolDamaged(f"{self.path} is damaged in line {number}.")
                    break
                whole += len(line)
        if whole < self.size:
            os.ftruncate(self.descriptor, whole)
            os.fsync(self.descriptor)

    def close(self) -> None:
        os.close(self.descriptor)


def line_of(event: dict[str, Any]) -> bytes:
    text = json.dumps(event, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def is_whole(line: bytes) -> bool:
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    return line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(text)


def event_in(line: bytes) -> dict[str, Any]:
    return json.loads(line.partition(b" ")[2])
