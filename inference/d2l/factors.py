"""The factors of an adapter that makes the opening of a chat hold other keys and values than its own.

At the slots of the opening, `k_proj` and `v_proj` shall say what they said at the document's tokens; everywhere else
they shall say what they always say. A low-rank change does it: row i of A answers 1 at slot i and 0 at the other
tokens of the opening, column i of B is what is to be added there. Of all such A the one is taken that answers least
to what chats usually hold (a weighted minimum-norm solution, as in ROME, arXiv 2202.05262, for one layer and fact).
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.reader import Reader
from inference.engine.projections import Group
from inference.engine.step import Plan

DAMPING = 1e-4


@dataclass(frozen=True)
class Factors:
    """Of one layer, for rank r: a [r, hidden], shared by both projections; key_b and value_b [kv_size, r]."""

    a: Tensor
    key_b: Tensor
    value_b: Tensor


@dataclass
class Writing(Plan):
    """A plan that finds the factors layer by layer, each on what the layers before it have changed.

    Args:
        wanted: per layer the keys and values for the slots, [slots used, 2 * kv_size], before norm and rotation.
    """

    hypernetwork: Hypernetwork
    slots: list[int]
    wanted: list[Tensor]
    factors: dict[int, Factors] = field(default_factory=dict)

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        if group != "qkv" or layer < self.hypernetwork.first_layer:
            return
        kv, exact = y[:, -self.wanted[layer].shape[1] :], x.float()
        a = answering(exact, self.hypernetwork.directions[layer].to(exact))[self.slots].to(x)
        said = exact @ a.float().T
        delta = torch.linalg.solve(said[self.slots], (self.wanted[layer] - kv[self.slots]).float())
        kv += (said @ delta).to(kv)
        key_b, value_b = delta.T.chunk(2)
        self.factors[layer] = Factors(a, key_b, value_b)


def answering(x: Tensor, directions: Tensor) -> Tensor:
    """Rows that answer 1 to one row of x [n, hidden] and 0 to the others, and little to the directions: [n, hidden]."""
    shy = x - (x @ directions.T) @ directions
    gram = shy @ x.T
    gram += torch.eye(len(x), dtype=x.dtype, device=x.device) * DAMPING * gram.diagonal().mean()
    return torch.linalg.solve(gram, shy)


@torch.inference_mode()
def write(
    hypernetwork: Hypernetwork, reader: Reader, sentences: list[list[int]], places: list[list[int]]
) -> dict[int, Factors]:
    """The factors of each adapted layer for some tokens of some sentences, which fill the slots in order.

    Args:
        places: of each sentence, which of its tokens.
    """
    trace = reader.trace(sentences)
    starts = [sum(len(sentence) for sentence in sentences[:index]) for index in range(len(sentences))]
    tokens = [start + place for start, chosen in zip(starts, places, strict=True) for place in chosen]
    slots = list(reader.opening.slots)[: len(tokens)]
    writing = Writing(hypernetwork, slots, [kv[tokens] for kv in trace.keys_and_values])
    reader.read_opening(writing)
    return writing.factors
