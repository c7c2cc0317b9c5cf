"""Which tokens of a document an adapter keeps, when it has room for few."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

TELLING = 4  # tokens of a sentence by which it is ranked
LEAST_WORTH = 0.5  # of the best sentence's: what tells less only distracts


@dataclass(frozen=True)
class Kept:
    """Tokens of one sentence, as ascending places in it."""

    sentence: int
    places: list[int]


def select(scores: Sequence[Tensor], room: int) -> list[Kept]:
    """Fill `room` places with the best tokens, sentence by sentence, since half a statement says nothing.

    The telling tokens of the best sentences come first, as long as they fit; what room is left goes to the words
    between them. Where no sentence fits, the best one keeps its best tokens.

    Args:
        scores: of the tokens of each sentence, [tokens] each; above 0 a token is telling.

    Returns:
        in the order of the document.
    """
    worths = [worth(score) for score in scores]
    rank = sorted(range(len(scores)), key=lambda index: -worths[index])
    kept: dict[int, list[int]] = {}
    for index in rank:
        telling = (scores[index] > 0).nonzero().flatten().tolist()
        if telling and len(telling) <= room and worths[index] >= LEAST_WORTH * worths[rank[0]]:
            kept[index] = telling
            room -= len(telling)
    if not kept:
        best = scores[rank[0]]
        kept[rank[0]] = sorted(best.topk(min(room, len(best))).indices.tolist())
        room -= len(kept[rank[0]])
    for index in [index for index in rank if index in kept]:
        between = len(scores[index]) - len(kept[index])
        if between <= room:
            room -= between
            kept[index] = list(range(len(scores[index])))
    return [Kept(index, kept[index]) for index in sorted(kept)]


def worth(scores: Tensor) -> float:
    """How telling a sentence is: the mean of its best tokens' scores."""
    return float(torch.topk(scores, min(TELLING, len(scores))).values.mean())
