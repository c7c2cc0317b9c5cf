"""`manage.py serve` with a meter that measures nothing: what `benchmarks.metering_cost` compares the real one with."""

import os
import uuid
from concurrent.futures import Future
from typing import Any, TypeVar

from workspace.embedded import prepare_environment

T = TypeVar("T")


def done(value: T) -> "Future[T]":
    future: Future[T] = Future()
    future.set_result(value)
    return future


class Unmetered:
    """Takes what `billing.meter.Metered` takes."""

    def __init__(self) -> None:
        self.durable = done(None)

    def progress(self, **_: int) -> None:
        pass

    def close(self, _: Any) -> "Future[uuid.UUID]":
        return done(uuid.uuid4())

    def cancel(self) -> None:
        pass


def main() -> None:
    prepare_environment()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
    import django
    from django.core.management import execute_from_command_line

    django.setup()
    from billing.meter import Meter

    Meter.open = lambda *_: Unmetered()  # type: ignore[assignment]
    execute_from_command_line(["manage.py", "serve"])


if __name__ == "__main__":
    main()
