"""Learning to tell the words that answers hang on: logistic regression on the labels that the templates know."""

import random
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from inference.d2l.data import Statement, fact_statement, filler_statement, needle_statement
from inference.d2l.descent import Descent
from inference.d2l.reader import Reader
from inference.d2l.salience import Salience
from inference.d2l.settings import TrainingSettings
from inference.d2l.values import listed

STOP_WORDS = frozenset(
    listed(
        "the a an is of for that to has have by at on in it this and are was be with from its our you we i will can if "
        "or as there here",
        " ",
    )
)
WORD = re.compile(r"\w[\w.']*\w|\w")


class Perceptron(nn.Sequential):
    """[n, hidden] -> [n, 1]."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__(nn.Linear(hidden, width), nn.GELU(), nn.Linear(width, 1, bias=False))


def train_salience(reader: Reader, settings: TrainingSettings, descent: Descent) -> Salience:
    """Raises Cancelled."""
    torch.manual_seed(settings.seed)
    states, _ = batch(reader, draws(settings.seed, -1), settings)
    mean, scale = states.mean(dim=0), states.std(dim=0) + 1e-3
    network = Perceptron(len(mean), settings.width)

    def loss(step: int) -> Tensor:
        states, labels = batch(reader, draws(settings.seed, step), settings)
        return F.binary_cross_entropy_with_logits(network((states - mean) / scale).squeeze(1), labels)

    descent.run(network, settings.salience_steps, lambda step: settings.salience_rate, loss, weight_decay=0.01)
    learned = {name: value.detach() for name, value in network.state_dict().items()}
    return Salience(
        settings.early_layers, mean, scale, learned["0.weight"], learned["0.bias"], learned["2.weight"].squeeze(0)
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
