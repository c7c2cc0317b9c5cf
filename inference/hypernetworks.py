"""The hypernetworks that come with the project, and those that were trained here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from inference.d2l.internalize import Internalizer
    from inference.engine.engine import Engine

SHIPPED = Path(__file__).parent / "d2l" / "checkpoints"


class Hypernetworks:
    """Finds the best hypernetwork that fits an engine's model, and keeps it until another file is there.

    The best and not the newest: any workspace may train one, and what comes of it serves all of them.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tried: tuple[int, tuple[tuple[Path, int], ...]] | None = None
        self.found: Internalizer | None = None

    def internalizer(self, engine: Engine, model_name: str) -> Internalizer | None:
        """The engine's, or None where no hypernetwork fits its model."""
        from inference.d2l.internalize import best_that_fits

        with self.lock:
            tried = (id(engine), tuple(files()))
            if tried != self.tried:
                self.found = best_that_fits([path for path, _ in tried[1]], engine, model_name)
                self.tried = tried
            return self.found


def files() -> Iterator[tuple[Path, int]]:
    """The files and when they were written: the newest trained here before all, and what comes along last."""
    for folder in (settings.HOME.hypernetworks, SHIPPED):
        found = [(path, path.stat().st_mtime_ns) for path in folder.glob("*.safetensors")]
        yield from sorted(found, key=lambda entry: -entry[1])


hypernetworks = Hypernetworks()
