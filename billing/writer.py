"""The one thread that writes a server's events: to Postgres by group commit, or to the spool."""

import logging
import queue
import time
import uuid
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Thread

from django.db import DEFAULT_DB_ALIAS, DataError, IntegrityError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

from billing.ledger import record_events
from billing.spool import Spool
from billing.usage import Usage

logger = logging.getLogger(__name__)

MAX_BATCH = 2000
RETRY_S = 0.25
CONNECT_TIMEOUT_S = 2
PREPARE_AFTER = 5  # repetitions; planning takes a third of Postgres's time for an event
APPLICATION_NAME = "lab-workspace-meter"


@dataclass
class Entry:
    """An event on its way; `stored` is done once it survives any crash."""

    usage: Usage
    text: str
    stored: "Future[uuid.UUID]" = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.stored.set_running_or_notify_cancel()  # a waiter that is cancelled does not cancel it


class Writer:
    """Takes events from any thread; those that arrive during one commit share the next."""

    def __init__(self, spool: Spool, rejects: Spool) -> None:
        self.spool = spool
        self.rejects = rejects
        self.queue: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self.stopping = False
        self.try_again_at = 0.0
        self.thread = Thread(target=self.run, name="meter-writer", daemon=True)
        self.thread.start()

    def put(self, usage: Usage) -> "Future[uuid.UUID]":
        entry = Entry(usage, usage.to_json())  # here, in the caller's thread, while a commit runs
        self.queue.put(entry)
        return entry.stored

    def stop(self) -> None:
        """Store what was put, then end."""
        self.queue.put(None)
        self.thread.join()

    def run(self) -> None:
        connections[DEFAULT_DB_ALIAS] = own_connection()
        while not self.stopping:
            if entries := self.take(None if self.spool.size == 0 else RETRY_S):
                self.store(entries)
            if self.spool.size and time.monotonic() >= self.try_again_at:
                self.replay()
        connections[DEFAULT_DB_ALIAS].close()

    def take(self, timeout: float | None) -> list[Entry]:
        """What waits, at most `MAX_BATCH`; waits for a first one, `timeout` seconds (None: for ever)."""
        entries: list[Entry] = []
        try:
            entry = self.queue.get(timeout=timeout)
            while entry is not None and len(entries) < MAX_BATCH:
                entries.append(entry)
                entry = self.queue.get_nowait()
            self.stopping = entry is None
            if entry is not None:
                entries.append(entry)
        except queue.Empty:
            pass
        return entries

    def store(self, entries: list[Entry]) -> None:
        """In Postgres if nothing waits in the spool before them, else in the spool."""
        while True:
            try:
                if self.spool.size == 0:
                    self.commit([entry.usage for entry in entries], [entry.text for entry in entries])
                    return settle(entries)
            except Exception as error:  # whatever it is, it may not cost an event
                self.note_away(error)
            try:
                return self.keep(entries)
            except OSError:
                logger.exception("%d events can be stored nowhere; trying again", len(entries))
                time.sleep(RETRY_S)

    def keep(self, entries: list[Entry]) -> None:
        self.spool.append([entry.usage.to_row() for entry in entries])
        settle(entries)

    def commit(self, usages: list[Usage], texts: list[str]) -> None:
        """One transaction for all; if Postgres refuses an event, halves, so that in the end it stops no other."""
        try:
            record_events(usages, texts)
        except (DataError, IntegrityError) as error:
            if len(usages) == 1:
                self.reject(usages[0], error)
                return
            middle = len(usages) // 2
            self.commit(usages[:middle], texts[:middle])
            self.commit(usages[middle:], texts[middle:])

    def reject(self, usage: Usage, error: Exception) -> None:
        logger.error("Postgres refused event %s; it is kept in %s: %s", usage.id, self.rejects.path, error)
        self.rejects.append([{**usage.to_row(), "refused": str(error)}])

    def replay(self) -> None:
        """Bring the spool to Postgres, in order. What arrives meanwhile joins its end."""
        try:
            offset = 0
            while offset < self.spool.size:
                rows, offset = self.spool.read(offset)
                usages = [Usage.from_row(row) for row in rows]
                self.commit(usages, [usage.to_json() for usage in usages])
                if entries := self.take(0):
                    self.keep(entries)
            self.spool.clear()
        except Exception as error:
            self.note_away(error)

    def note_away(self, error: Exception) -> None:
        if self.spool.size == 0:
            logger.warning("Postgres is away; events go to the spool: %s", str(error).strip())
        connections[DEFAULT_DB_ALIAS].close()
        self.try_again_at = time.monotonic() + RETRY_S


def settle(entries: list[Entry]) -> None:
    for entry in entries:
        entry.stored.set_result(entry.usage.id)


def own_connection() -> BaseDatabaseWrapper:
    """A connection beside the pool, which would wait long for a server that is away."""
    settings = connections.settings[DEFAULT_DB_ALIAS]
    options = {key: value for key, value in settings["OPTIONS"].items() if key != "pool"}
    options |= {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": APPLICATION_NAME}
    options["server_side_binding"] = True  # a batch travels beside its statement, and is not parsed as a part of it
    options["prepare_threshold"] = PREPARE_AFTER
    settings = {**settings, "OPTIONS": options}
    return load_backend(settings["ENGINE"]).DatabaseWrapper(settings, DEFAULT_DB_ALIAS)
