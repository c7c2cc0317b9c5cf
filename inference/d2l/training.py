"""Training a hypernetwork for one base model."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.d2l.answers import answers, ask
from inference.d2l.chats import PROMPTS
from inference.d2l.data import Statement, fact_statement, filler_statement, needle_statement
from inference.d2l.errors import Cancelled
from inference.d2l.held_out import TrainingScore, measure
from inference.d2l.hypernetwork import Hypernetwork, Salience, mean_embedding
from inference.d2l.reader import Reader
from inference.d2l.settings import TrainingSettings
from inference.d2l.values import listed
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine

ANSWER_TOKENS = 64
FIRST_LAYER_SHARE = 15  # the first of this many parts of the layers is left as it is: it knows words, not facts
SHYNESS = 0.02  # of the mean second moment: how usual a direction must be to be kept out of
SAVED_EVERY = 50
STOP_WORDS = frozenset(
    listed(
        "the a an is of for that to has have by at on in it this and are was be with from its our you we i will can if "
        "or as there here",
        " ",
    )
)
WORD = re.compile(r"\w[\w.']*\w|\w")


@dataclass(frozen=True)
class TrainingPoint:
    step: int
    steps: int
    loss: float


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
    engine.start()
    try:
        decoder = engine.runner.decoder
        reader = Reader(decoder, engine.tokenizer)
        salience = train_salience(reader, out.with_suffix(".part"), settings, progress, cancelled)
        network = Hypernetwork(
            salience=salience,
            directions=usual_directions(engine, reader, settings.directions, cancelled),
            first_layer=decoder.spec.layers // FIRST_LAYER_SHARE,
            base=mean_embedding(decoder),
            base_name=model_folder.name,
        )
        found = measure(engine, network, settings.seed, cancelled)
        made: dict[str, Any] = {"settings": asdict(settings), "score": found.as_dict()}
        Hypernetwork(**{**vars(network), "made": made}).save(out)
        out.with_suffix(".part").unlink(missing_ok=True)
        return found
    finally:
        engine.stop()


def usual_directions(engine: Engine, reader: Reader, count: int, cancelled: Callable[[], bool]) -> Tensor:
    """What the attention's inputs are in ordinary chats, as `Hypernetwork.directions`."""
    asked = [ask(engine, prompt) for prompt in PROMPTS]
    opening = len(reader.opening.tokens)
    chats = [
        question.prompt[opening:] + answer
        for question, answer in zip(asked, answers(engine, asked, ANSWER_TOKENS), strict=True)
    ]
    spec = reader.spec
    moments = torch.zeros(spec.layers, spec.hidden, spec.hidden)
    for chat in chats:
        if cancelled():
            raise Cancelled
        for layer, x in enumerate(reader.trace([chat]).inputs):
            moments[layer] += (x.T @ x).float().cpu()
    moments /= sum(len(chat) for chat in chats)
    strengths, directions = torch.linalg.eigh(moments)
    strengths, directions = strengths[:, -count:], directions[:, :, -count:]
    floor = SHYNESS * moments.diagonal(dim1=1, dim2=2).mean(dim=1, keepdim=True)
    return directions.transpose(1, 2) * (strengths / (strengths + floor)).sqrt().unsqueeze(2)


def train_salience(
    reader: Reader,
    part: Path,
    settings: TrainingSettings,
    progress: Callable[[TrainingPoint], None],
    cancelled: Callable[[], bool],
) -> Salience:
    """Learn to tell the words that answers hang on: logistic regression on the labels that the templates know."""
    torch.manual_seed(settings.seed)
    states, _ = batch(reader, draws(settings.seed, -1), settings)
    mean, scale = states.mean(dim=0), states.std(dim=0) + 1e-3
    inner, outer = nn.Linear(len(mean), settings.width), nn.Linear(settings.width, 1, bias=False)
    network = nn.Sequential(inner, nn.GELU(), outer)
    optimizer = torch.optim.AdamW(network.parameters(), settings.learning_rate, weight_decay=0.01)
    first = 0
    if part.exists():
        saved = torch.load(part, weights_only=True)
        if saved["settings"] == asdict(settings):
            first = saved["step"]
            network.load_state_dict(saved["network"])
            optimizer.load_state_dict(saved["optimizer"])
    for step in range(first, settings.steps):
        if cancelled():
            raise Cancelled
        states, labels = batch(reader, draws(settings.seed, step), settings)
        loss = F.binary_cross_entropy_with_logits(network((states - mean) / scale).squeeze(1), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        progress(TrainingPoint(step + 1, settings.steps, round(loss.item(), 4)))
        if (step + 1) % SAVED_EVERY == 0:
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({"step": step + 1, "settings": asdict(settings), **state}, part)
    return Salience(
        settings.early_layers,
        mean,
        scale,
        inner.weight.detach(),
        inner.bias.detach(),
        outer.weight.detach().squeeze(0),
    )


def draws(seed: int, step: int) -> random.Random:
    """The draws of one step, the same whether the training was broken off before it or not."""
    return random.Random(f"{seed} {step}")


def batch(reader: Reader, draw: random.Random, settings: TrainingSettings) -> tuple[Tensor, Tensor]:
    """The early states of some sentences' tokens and their labels: [tokens, hidden], [tokens]."""
    kinds = (fact_statement, fact_statement, needle_statement, filler_statement, filler_statement)
    drawn: list[Statement] = [draw.choice(kinds)(draw, False) for _ in range(settings.batch)]
    encoded = [reader.tokenizer.backend.encode(each.text, add_special_tokens=False) for each in drawn]
    states = reader.states([each.ids for each in encoded], settings.early_layers)
    labels = [
        [float(each.is_fact and touches(spans, start, end)) for start, end in encoding.offsets]
        for each, encoding in zip(drawn, encoded, strict=True)
        for spans in [list(content(each.text))]
    ]
    return torch.cat(states).float().cpu().clone(), torch.tensor([label for row in labels for label in row])


def content(text: str) -> Iterator[tuple[int, int]]:
    """Where the words are that carry a statement: all but those of grammar."""
    for match in WORD.finditer(text):
        if match[0].lower() not in STOP_WORDS:
            yield match.span()


def touches(spans: list[tuple[int, int]], start: int, end: int) -> bool:
    return any(start < span_end and span_start < end for span_start, span_end in spans)
