from collections.abc import Iterator
from pathlib import Path

import pytest

from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.internalize import Internalizer
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.hypernetworks import SHIPPED


@pytest.fixture(scope="package")
def engine(smollm_path: Path) -> Iterator[Engine]:
    engine = Engine(EngineConfig(smollm_path, max_active_loras=4, kv_tokens=8192))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="session")
def hypernetwork() -> Hypernetwork:
    return Hypernetwork.load(SHIPPED / "smollm2-135m-instruct.safetensors")


@pytest.fixture(scope="package")
def internalizer(engine: Engine, hypernetwork: Hypernetwork) -> Internalizer:
    return Internalizer(hypernetwork, engine.runner.decoder, engine.tokenizer, "smollm2-135m-instruct")
