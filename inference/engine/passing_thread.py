"""Work that leaves no threads behind."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def on_passing_thread(call: Callable[[], T]) -> T:
    """Run `call` on a thread that ends with it; returns, or raises, as the call does.

    For tensor work beside the engine's thread. OpenMP keeps workers for every thread that has computed; as soon as
    there are more of them than cores, libgomp lets all of them sleep between operations instead of spinning, the
    engine's too, and waking them hundreds of times a step costs half as much as the step.
    """
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()
