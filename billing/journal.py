"""Intents on local disk: what a server has begun and not yet billed, with the tokens counted so far.

A memory-mapped file of fixed slots. Counting is a store into the map, which outlives a killed process; one
thread syncs the file while anything in it is dirty, so that a power cut costs the last step or two.

The first store into a page after a sync is a fault, many times as slow as the next ones. So all that changes while
requests run lies together at the file's beginning, in a page for each 64 of them.
"""

import json
import mmap
import os
import queue
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

SLOTS_PER_FILE = 1024
HEADER = struct.Struct("<II")  # length of the payload (0: free), its CRC-32
COUNTS = struct.Struct("<5q")  # input, output and cached tokens, time to first token in ms (-1: none), elapsed ms
RECORD_BYTES = 64  # a header and its counts; no sector or page ends within one
PAYLOADS_AT = RECORD_BYTES * SLOTS_PER_FILE
MAX_PAYLOAD = 4096
GATHER_S = 0.02  # about a step of the engine

Counts = tuple[int, int, int, int, int]
NO_COUNTS: Counts = (0, 0, 0, -1, 0)


class IntentTooLarge(ValueError):
    """The intent does not fit a slot."""


class SlotFile:
    """One mapped file of slots."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = PAYLOADS_AT + MAX_PAYLOAD * SLOTS_PER_FILE
        if os.fstat(self.descriptor).st_size < size:
            os.posix_fallocate(self.descriptor, 0, size)
            os.fsync(self.descriptor)
            sync_folder(path.parent)
        self.map = mmap.mmap(self.descriptor, size)
        self.free = [index for index in reversed(range(SLOTS_PER_FILE)) if self.length(index) == 0]

    def length(self, index: int) -> int:
        return HEADER.unpack_from(self.map, index * RECORD_BYTES)[0]

    def write(self, index: int, payload: bytes) -> None:
        start = payload_at(index)
        self.map[start : start + len(payload)] = payload
        self.count(index, NO_COUNTS)
        HEADER.pack_into(self.map, index * RECORD_BYTES, len(payload), zlib.crc32(payload))

    def count(self, index: int, counts: Counts) -> None:
        COUNTS.pack_into(self.map, index * RECORD_BYTES + HEADER.size, *counts)

    def read(self, index: int) -> tuple[dict[str, Any], Counts] | None:
        """The intent in a slot; None where there is none, or one torn before it was ever durable."""
        length, checksum = HEADER.unpack_from(self.map, index * RECORD_BYTES)
        start = payload_at(index)
        payload = self.map[start : start + min(length, MAX_PAYLOAD)]
        if length == 0 or zlib.crc32(payload) != checksum:
            return None
        return json.loads(payload), COUNTS.unpack_from(self.map, index * RECORD_BYTES + HEADER.size)

    def clear(self, index: int) -> None:
        HEADER.pack_into(self.map, index * RECORD_BYTES, 0, 0)

    def sync(self) -> None:
        """Also what was stored through the map: on Linux, one page cache serves both (fsync(2), mmap(2))."""
        os.fdatasync(self.descriptor)

    def close(self) -> None:
        self.map.close()
        os.close(self.descriptor)


class Intent:
    """One slot in use. `durable` is done once the intent would survive a power cut."""

    def __init__(self, journal: "Journal", file: SlotFile, index: int) -> None:
        self.journal = journal
        self.file = file
        self.index = index
        self.durable: Future[None] = Future()
        self.durable.set_running_or_notify_cancel()  # a waiter that is cancelled does not cancel it

    def count(self, counts: Counts) -> None:
        """Store the counts so far. No system call and no lock: called for every token."""
        self.file.count(self.index, counts)
        self.journal.note()

    def clear(self) -> None:
        """Give the slot back. Not synced: if a power cut brings it back, its event is there already."""
        self.file.clear(self.index)
        with self.journal.lock:
            self.file.free.append(self.index)


class Journal:
    """The slot files of one folder, and the thread that syncs them.

    Args:
        gather_s: how long what was stored waits to be synced together, unless somebody hurries.
    """

    def __init__(self, folder: Path, gather_s: float = GATHER_S) -> None:
        self.folder = folder
        self.gather_s = gather_s
        self.lock = threading.Lock()
        self.dirty = False
        self.signals: queue.SimpleQueue[None] = queue.SimpleQueue()  # one when it gets dirty, one more to hurry
        self.waiting: list[Intent] = []
        self.stopped = False
        paths = sorted(folder.glob("intents-*"))
        self.files = [SlotFile(path) for path in paths] or [self.new_file(0)]
        self.thread = threading.Thread(target=self.keep_synced, name="meter-journal", daemon=True)
        self.thread.start()

    def new_file(self, number: int) -> SlotFile:
        return SlotFile(self.folder / f"intents-{number:04d}")

    def open(self, payload: dict[str, Any]) -> Intent:
        """Write an intent into a free slot; wait for its `durable` before anything is sent, and `hurry` if it is late.

        Raises:
            IntentTooLarge: the payload takes more than `MAX_PAYLOAD` bytes of JSON.
        """
        encoded = json.dumps(payload, separators=(",", ":")).encode()
        if len(encoded) > MAX_PAYLOAD:
            raise IntentTooLarge(f"An intent takes {len(encoded)} bytes; at most {MAX_PAYLOAD} are possible.")
        with self.lock:
            file = next((file for file in self.files if file.free), None)
            if file is None:
                file = self.new_file(len(self.files))
                self.files.append(file)
            intent = Intent(self, file, file.free.pop())
            file.write(intent.index, encoded)
            self.waiting.append(intent)
        self.note()
        return intent

    def note(self) -> None:
        """Have what was stored synced soon. While it is dirty, the sync to come takes that too."""
        if not self.dirty:
            self.dirty = True
            self.signals.put(None)

    def hurry(self) -> None:
        """Sync what was stored now: somebody waits for it."""
        self.signals.put(None)

    def leftovers(self) -> Iterator[tuple[Intent, dict[str, Any], Counts]]:
        """The intents of a server that died. A slot torn by a power cut was not durable yet, and is freed."""
        for file in self.files:
            for index in range(SLOTS_PER_FILE):
                if file.length(index) == 0:
                    continue
                intent = Intent(self, file, index)
                found = file.read(index)
                if found is None:
                    intent.clear()
                else:
                    yield intent, *found

    def keep_synced(self) -> None:
        while True:
            self.signals.get()
            with suppress(queue.Empty):
                self.signals.get(timeout=self.gather_s)
            with self.lock:
                if self.stopped:
                    return
                self.dirty = False
                waiting, self.waiting = self.waiting, []
            self.sync(waiting)

    def sync(self, waiting: list[Intent]) -> None:
        try:
            for file in list(self.files):
                file.sync()
        except OSError as error:
            for intent in waiting:
                intent.durable.set_exception(error)
            return
        for intent in waiting:
            intent.durable.set_result(None)

    def close(self) -> None:
        self.stopped = True
        self.note()
        self.hurry()
        self.thread.join()
        self.sync(self.waiting)
        for file in self.files:
            file.close()


def payload_at(index: int) -> int:
    return PAYLOADS_AT + MAX_PAYLOAD * index


def sync_folder(folder: Path) -> None:
    """Make a new file's name durable (fsync(2): that of the folder is the caller's to sync)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def elapsed_ms(since: float) -> int:
    """Milliseconds since a reading of `time.monotonic`."""
    return round((time.monotonic() - since) * 1000)
