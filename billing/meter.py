"""The one narrow seam between what serves requests and what bills them.

    metered = meter.open(Usage(...))       # admitted: an intent, durable before the first token is sent
    metered.progress(input_tokens=31)      # whenever a count changes; costs a microsecond
    metered.close(Status.OK)               # the event, safe before the last byte is sent

`durable`, which `hurry` returns, and what `close` returns are futures: wait for them with `.result()` in a thread and
with `asyncio.wrap_future` in a coroutine.
"""

import atexit
import fcntl
import logging
import os
import threading
import time
import uuid
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

from django.conf import settings

from billing.journal import NO_COUNTS, Counts, Intent, Journal, elapsed_ms
from billing.limits import release, reserve
from billing.models import Status
from billing.spool import Spool
from billing.usage import Usage
from billing.writer import Writer
from workspace.models import ApiKey

logger = logging.getLogger(__name__)

# For who reads a workspace `w` in SQL: whether its requests must be admitted by `Meter.admit`, as those of a key with a
# credit limit must. For all others `Meter.open` is enough, which asks no database.
HAS_LIMITS = "EXISTS (SELECT FROM billing_workspacelimit WHERE workspace_id = w.id)"


class MeterInUse(Exception):
    """Another process meters with this folder."""


class Metered:
    """One admitted request, until it is billed."""

    def __init__(self, meter: "Meter", usage: Usage, intent: Intent) -> None:
        self.meter = meter
        self.usage = usage
        self.intent = intent
        self.durable = intent.durable
        self.started = time.monotonic()
        self.lock = threading.Lock()
        self.counts: Counts = NO_COUNTS
        self.is_open = True
        self.is_reserved = False
        self.closed: Future[uuid.UUID] | None = None

    def hurry(self) -> "Future[None]":
        """Have `durable` done as soon as it can be, and not with the next counts; returns it."""
        self.intent.journal.hurry()
        return self.durable

    def progress(self, *, input_tokens: int, output_tokens: int = 0, cached_tokens: int = 0) -> None:
        """Note the tokens so far, totals and not increments. They survive a killed process at once."""
        elapsed = elapsed_ms(self.started)
        with self.lock:
            if not self.is_open:
                return
            ttft = self.counts[3]
            if ttft < 0 and output_tokens > 0:
                ttft = elapsed
            self.counts = (input_tokens, output_tokens, cached_tokens, ttft, elapsed)
            self.intent.count(self.counts)

    def close(self, status: Status) -> "Future[uuid.UUID]":
        """Bill the tokens noted, once. The future is done when the event is safe."""
        with self.lock:
            if self.closed is None:
                self.is_open = False
                counts = (*self.counts[:4], elapsed_ms(self.started))
                self.closed = self.meter.store(used(self.usage, status, counts), self.intent)
            return self.closed

    def cancel(self) -> None:
        """Forget the intent: the request was refused after all, and there is nothing to bill.

        Blocks on the database if the request had a limit.
        """
        with self.lock:
            if not self.is_open:
                return
            self.is_open = False
        if self.is_reserved:
            release(self.usage.id)
        self.intent.clear()


class Meter:
    """The journal of intents, the spool and the writer of one server, all in one folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.lock = threading.Lock()
        self.folder = folder  # None: the home's
        self.journal: Journal | None = None

    def start(self) -> int:
        """Replay what a server that died left behind, and begin. Returns how many requests it had to abort.

        Raises:
            MeterInUse: another process has this folder.
            SpoolDamaged: the spool does not hold what was written.
        """
        with self.lock:
            return self.begin(self.folder or settings.HOME.spool) if self.journal is None else 0

    def begin(self, folder: Path) -> int:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder_lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.folder_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self.folder_lock)
            raise MeterInUse(f"Another process meters with {folder}.") from None
        self.spool, self.rejects = Spool(folder / "events"), Spool(folder / "rejected")
        self.writer = Writer(self.spool, self.rejects)
        journal = Journal(folder)
        aborted = [
            self.store(used(Usage.from_row(payload), Status.ABORTED, counts), intent)
            for intent, payload, counts in journal.leftovers()
        ]
        for stored in aborted:
            stored.result()
        if aborted:
            logger.warning("%d requests of a server that died were closed as aborted", len(aborted))
        self.journal = journal
        return len(aborted)

    def open(self, usage: Usage) -> Metered:
        """Note the intent to serve a request. Wait for `durable` before a token of it leaves.

        Raises:
            IntentTooLarge: the usage's labels take more than about 4 KB.
        """
        self.start()
        assert self.journal is not None
        return Metered(self, usage, self.journal.open(usage.to_row()))

    def admit(self, usage: Usage, key: ApiKey | None, *, input_tokens: int, output_tokens: int) -> Metered:
        """`open`, for at most so many tokens: reserves what they may cost. Blocks on the database.

        Raises:
            ApiError: as `billing.limits.reserve`; the request is then refused, and leaves no event.
            IntentTooLarge: as `open`.
        """
        metered = self.open(usage)  # first, so that a reservation always has an intent that settles it
        try:
            metered.is_reserved = reserve(usage, key, input_tokens, output_tokens)
        except BaseException:
            metered.cancel()
            raise
        return metered

    def store(self, usage: Usage, intent: Intent) -> "Future[uuid.UUID]":
        stored = self.writer.put(usage)
        stored.add_done_callback(lambda _: intent.clear())
        return stored

    def stop(self) -> None:
        """Store what was closed and let go of the folder. What is open is aborted at the next start."""
        with self.lock:
            if self.journal is None:
                return
            self.writer.stop()
            self.journal.close()
            self.spool.close()
            self.rejects.close()
            os.close(self.folder_lock)
            self.journal = None


def used(usage: Usage, status: Status, counts: Counts) -> Usage:
    """The intent with what came of it."""
    input_tokens, output_tokens, cached_tokens, ttft, elapsed = counts
    return replace(
        usage,
        status=status.value,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=min(cached_tokens, input_tokens),
        ttft_ms=None if ttft < 0 else ttft,
        latency_ms=elapsed,
    )


meter = Meter()
atexit.register(meter.stop)
