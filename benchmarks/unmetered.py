"""`manage.py serve` whose meter leaves out requests with an id of a certain kind: for `benchmarks.metering_cost`."""

import os
import uuid
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, Union

from workspace.embedded import prepare_environment

if TYPE_CHECKING:
    from billing.meter import Meter, Metered
    from billing.usage import Usage

T = TypeVar("T")

PREFIX = "unmetered-"  # of the X-Request-ID of a request that shall not be metered


def done(value: T) -> "Future[T]":
    future: Future[T] = Future()
    future.set_result(value)
    return future


class Unmetered:
    """Takes what `billing.meter.Metered` takes."""

    is_reserved = False

    def __init__(self) -> None:
        self.durable = done(None)

    def hurry(self) -> "Future[None]":
        return self.durable

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

    metered = Meter.open

    def open_unless_named(meter: "Meter", usage: "Usage") -> Union["Metered", Unmetered]:
        return Unmetered() if usage.request_id.startswith(PREFIX) else metered(meter, usage)

    Meter.open = open_unless_named  # type: ignore[method-assign, assignment]
    execute_from_command_line(["manage.py", "serve"])


if __name__ == "__main__":
    main()
