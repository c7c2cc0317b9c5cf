"""Advisory locks of Postgres, by name (postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS)."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

ADAPTER_FILES = "adapter files"


def lock(name: str, shared: bool = False) -> None:
    """Hold the lock until the transaction ends; waits for whoever has it. Many may share it, or one have it alone."""
    kind = "_shared" if shared else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_advisory_xact_lock{kind}(hashtextextended(%s, 0))", [name])


@contextmanager
def claimed(name: str) -> Iterator[bool]:
    """Hold the lock while the block runs, if it is free: False if another has it. It goes with its holder's process."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [name])
        is_free = cursor.fetchone()[0]
    try:
        yield is_free
    finally:
        if is_free:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [name])
