"""The order in which what is kept makes way."""

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)


class Recency(Generic[T]):
    """Segmented LRU (Karedla, Love and Wherry, IEEE Computer 27(3), 1994): the least recently used makes way first, and
    what was found again stays longer. So a burst of things that are used once does not drive out what many use.

    Args:
        most_reused: of how many that were found again it is remembered.
    """

    def __init__(self, most_reused: int) -> None:
        self.most_reused = most_reused
        self.once: dict[T, None] = {}  # in both the least recently used first
        self.again: dict[T, None] = {}

    def __len__(self) -> int:
        return len(self.once) + len(self.again)

    def __iter__(self) -> Iterator[T]:
        """Those that make way first, first."""
        yield from self.once
        yield from self.again

    def touch(self, item: T) -> None:
        """Used just now, though it may not have been looked for; kept from now on."""
        segment = self.segment_of(item)
        segment.pop(item, None)
        segment[item] = None

    def reuse(self, item: T) -> None:
        """Found again just now."""
        self.once.pop(item, None)
        self.again.pop(item, None)
        self.again[item] = None
        if len(self.again) > self.most_reused:
            oldest = next(iter(self.again))
            del self.again[oldest]
            self.once[oldest] = None

    def remove(self, item: T) -> None:
        del self.segment_of(item)[item]

    def segment_of(self, item: T) -> dict[T, None]:
        return self.again if item in self.again else self.once
