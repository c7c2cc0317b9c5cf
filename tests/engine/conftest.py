from pathlib import Path

import pytest

from inference.engine.tokenizer import Tokenizer
from tests.engine.tiny_models import make_adapter, make_model
from tests.engine.tokenizers import byte_level_tokenizer


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_level_tokenizer(tmp_path_factory.mktemp("byte-level"))


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a tokenizer, as a model folder."""
    path = make_model("llama", tmp_path_factory.mktemp("models"))
    byte_level_tokenizer(path)
    return path


@pytest.fixture(scope="session")
def tiny_adapters(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Adapters of different ranks and target modules for `tiny_llama`."""
    folder = tmp_path_factory.mktemp("adapters")
    shapes: list[dict[str, object]] = [
        {"r": 8, "target_modules": "all-linear"},
        {"r": 4, "target_modules": ["q_proj", "v_proj"]},
        {"r": 16, "target_modules": ["gate_proj", "up_proj", "down_proj"], "use_rslora": True},
        {"r": 2, "target_modules": ["o_proj"]},
        {"r": 8, "target_modules": "all-linear"},
        {"r": 8, "target_modules": "all-linear"},
    ]
    return [make_adapter(tiny_llama, folder / str(seed), seed=seed, **shape) for seed, shape in enumerate(shapes)]
