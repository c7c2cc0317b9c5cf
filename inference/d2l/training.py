"""Training a hypernetwork for one base model."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from inference.d2l.base_model import frozen_model
from inference.d2l.chats import ordinary_chats
from inference.d2l.descent import Descent, TrainingPoint
from inference.d2l.flag_training import find_flags
from inference.d2l.held_out import TrainingScore, measure
from inference.d2l.hypernetwork import Hypernetwork, mean_embedding
from inference.d2l.projection_training import train_projections
from inference.d2l.reader import Reader
from inference.d2l.salience_training import train_salience
from inference.d2l.settings import TrainingSettings
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine


def train(
    model_folder: Path,
    out: Path,
    settings: TrainingSettings,
    progress: Callable[[TrainingPoint], None],
    cancelled: Callable[[], bool],
) -> TrainingScore:
    """Train a hypernetwork for a model and write it to `out`; takes up a training that was broken off.

    Raises:
        Cancelled: `cancelled` said so; what was reached stays for the next time.
        BaseUnsupported: the model has no opening to write over.
        EngineError: the model cannot be loaded.
    """
    engine = Engine(EngineConfig(model_folder))
    reader = Reader(engine.runner.decoder, engine.tokenizer)
    descent = Descent(out.with_suffix(".part"), settings, progress, cancelled)
    salience = train_salience(reader, settings, descent)
    with engine.running():
        chats = ordinary_chats(engine, settings.seed)
    descent.check()
    model = frozen_model(model_folder, reader.decoder)
    flags = find_flags(model, reader.spec.norm_offset, reader.opening, chats)
    descent.check()
    learned = train_projections(engine, reader, model, salience, flags, chats, settings, descent)
    weights, biases = learned.stacked()
    network = Hypernetwork(
        salience=salience,
        flags=flags,
        projections=weights,
        bias=biases,
        base=mean_embedding(reader.decoder),
        base_name=model_folder.name,
    )
    with engine.running():
        found = measure(engine, network, settings.seed, cancelled)
    made: dict[str, Any] = {"settings": asdict(settings), "score": found.as_dict()}
    replace(network, made=made).save(out)
    descent.part.unlink(missing_ok=True)
    return found
