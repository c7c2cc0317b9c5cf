"""The engine of this process, and the names its model goes by.

PyTorch is imported when an engine is started, not before: the workers and the management commands have none.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from workspace.errors import ApiError

if TYPE_CHECKING:
    from inference.engine.config import EngineConfig
    from inference.engine.engine import Engine

VERSION = version("lab-workspace")
LORA_MODE = "dynamic"  # adapters come and go while the server runs


class Runtime:
    """Holds the engine from the moment a server starts loading it until it has drained."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.names: list[str] = []
        self.ready = threading.Event()
        self.started_at = int(time.time())

    @property
    def model_name(self) -> str:
        return self.names[0] if self.names else ""

    def name_model(self, served_name: str, aliases: Sequence[str] = ()) -> None:
        """Set what `model` in a request may say for the base model; the first is what answers say."""
        self.names = list(dict.fromkeys([served_name, *aliases]))

    def answers_to(self, model: str) -> bool:
        return model in self.names

    def start(self, config: EngineConfig, on_evict: Callable[[str], None]) -> None:
        """Load the model and start the engine; requests are refused with 503 until `open`.

        Args:
            on_evict: told the key of each adapter that made way for another.

        Raises:
            EngineError: the model cannot be served.
        """
        from inference.engine.engine import Engine

        engine = Engine(config, on_evict)
        engine.start()
        self.engine = engine

    def open(self) -> None:
        """Let requests in."""
        self.ready.set()

    def require_engine(self) -> Engine:
        if self.engine is None:
            raise ApiError(503, "engine_not_ready", "The model is loading; try again.", headers={"Retry-After": "2"})
        return self.engine

    def require_open(self) -> Engine:
        """The engine, once requests are let in."""
        engine = self.require_engine()
        if not self.ready.is_set():
            raise ApiError(503, "engine_not_ready", "The server is starting or stopping.", headers={"Retry-After": "2"})
        return engine

    def drain(self, timeout_s: float) -> bool:
        """Refuse new requests and let those running finish. False: some were cut off."""
        self.ready.clear()
        if self.engine is None:
            return True
        finished = self.engine.drain(timeout_s)
        self.engine.stop()
        self.engine = None
        return finished


runtime = Runtime()


def engine_config(model_path: Path) -> EngineConfig:
    """The engine's configuration as the environment sets it."""
    from inference.engine.config import EngineConfig

    return EngineConfig(
        model_path=model_path,
        device=settings.LAB_DEVICE,
        dtype=settings.LAB_DTYPE,
        max_active_loras=settings.LAB_MAX_ACTIVE_LORAS,
        max_lora_rank=settings.LAB_MAX_LORA_RANK,
        max_queue=settings.LAB_MAX_QUEUE,
    )
