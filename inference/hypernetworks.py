"""The hypernetworks that come with the project, and those that were trained here."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from inference.d2l.internalize import Internalizer
    from inference.engine.engine import Engine

log = logging.getLogger(__name__)

SHIPPED = Path(__file__).parent / "d2l" / "checkpoints"


class Hypernetworks:
    """Finds the newest hypernetwork that fits an engine's model, and keeps it until another file is there."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.tried: tuple[int, tuple[tuple[Path, int], ...]] | None = None
        self.found: Internalizer | None = None

    def internalizer(self, engine: Engine, model_name: str) -> Internalizer | None:
        """The engine's, or None where no hypernetwork fits its model."""
        with self.lock:
            tried = (id(engine), tuple(files()))
            if tried != self.tried:
                self.found = best_of([path for path, _ in tried[1]], engine, model_name)
                self.tried = tried
            return self.found


def files() -> Iterator[tuple[Path, int]]:
    """The files and when they were written; those trained here first, the newest of them before all."""
    for folder in (settings.HOME.hypernetworks, SHIPPED):
        found = [(path, path.stat().st_mtime_ns) for path in folder.glob("*.safetensors")]
        yield from sorted(found, key=lambda entry: -entry[1])


def best_of(paths: list[Path], engine: Engine, model_name: str) -> Internalizer | None:
    from inference.d2l.errors import D2LError
    from inference.d2l.hypernetwork import Hypernetwork
    from inference.d2l.internalize import Internalizer

    for path in paths:
        try:
            return Internalizer(Hypernetwork.load(path), engine.runner.decoder, engine.tokenizer, model_name)
        except (OSError, ValueError, D2LError) as error:
            log.info("The hypernetwork %s is not used: %s", path.name, error)
    return None


hypernetworks = Hypernetworks()
