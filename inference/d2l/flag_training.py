"""Finding the flags of a base model: what tells the slots of the opening from all that chats hold."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inference.d2l.chats import Chat
from inference.d2l.flags import Flags
from inference.d2l.opening import Opening
from inference.d2l.packed import Packed, rows_of

FIRST_SHARE = 15  # the first of this many parts of the layers are left as they are: they know words, not facts
THRESHOLD = 0.6  # of a slot's answer that a token has to give to be taken for it
STEEPNESS = 100.0
STRENGTH = 25.0  # how long a flag is, in lengths of the residual stream at the slots
DAMPING = 1e-4


@dataclass(frozen=True)
class Observed:
    """What the model holds at one layer.

    Attributes:
        opening, chats: [tokens, hidden], what goes into the feed-forward at the opening, and in chats after it.
        usage: [intermediate], how much each neuron does in chats.
        energy: [hidden, hidden], the second moments of the residual stream's directions after the layer in chats.
        length: of the residual stream after the layer at the slots.
    """

    opening: Tensor
    chats: Tensor
    usage: Tensor
    energy: Tensor
    length: float


@torch.no_grad()
def find_flags(model: PreTrainedModel, norm_offset: float, opening: Opening, chats: Sequence[Chat]) -> Flags:
    """Take the neurons that chats use least, and the directions that the residual streams of chats have least of.

    Of all that tells the slots apart, what answers least to the tokens of chats is taken (a weighted minimum-norm
    solution, as in ROME, arXiv 2202.05262).

    Args:
        model: the base model, of transformers.
        norm_offset: what the model adds to the weights of its norms.
        chats: what slots must not be taken for.
    """
    layers = model.get_submodule("model.layers")
    number, hidden, slots = max(0, len(layers) // FIRST_SHARE - 1), model.config.hidden_size, list(opening.slots)
    observed = observe(model, number, opening, chats)

    moments = observed.chats.T @ observed.chats / len(observed.chats)
    moments += torch.eye(hidden) * DAMPING * moments.diagonal().mean()
    shy = torch.linalg.solve(moments, observed.opening.T)
    answering = torch.linalg.solve(observed.opening @ shy, shy.T)[slots]  # 1 to a slot's own token, 0 to the others
    always = torch.linalg.solve(moments, observed.chats.mean(dim=0))  # about 1 to every token
    gate = STEEPNESS * (answering - THRESHOLD * always)
    mlp = layers[number].mlp
    heights = mlp.act_fn((observed.opening[slots] * gate).sum(dim=1))

    weights = {name: getattr(mlp, f"{name}_proj").weight.float().cpu() for name in ("gate", "up", "down")}
    taken = (observed.usage * weights["down"].norm(dim=0)).topk(len(slots), largest=False).indices
    directions = torch.linalg.eigh(observed.energy).eigenvectors[:, : len(slots)].T
    norms = torch.stack([each.input_layernorm.weight.float().cpu() + norm_offset for each in layers])
    return Flags(
        layer=number,
        neurons=taken,
        gate=gate - weights["gate"][taken],
        up=answering - weights["up"][taken],
        down=directions * (STRENGTH * observed.length / heights).unsqueeze(1) - weights["down"][:, taken].T,
        readers=directions / norms.unsqueeze(1) / hidden**0.5,
    )


def observe(model: PreTrainedModel, number: int, opening: Opening, chats: Sequence[Chat]) -> Observed:
    layer = model.get_submodule(f"model.layers.{number}")
    usage = torch.zeros(model.config.intermediate_size)
    energy = torch.zeros(model.config.hidden_size, model.config.hidden_size)
    of_chats: list[Tensor] = []
    for rows in rows_of(chats):
        packed = Packed.of(opening.tokens, rows)
        with inputs_of(layer.mlp, layer.mlp.down_proj) as inputs:
            streams = packed.hidden(model, output_hidden_states=True)[1]
        x, neurons = (each.float().cpu() for each in inputs)
        here = packed.owner > 0
        of_chats.append(x[here])
        usage += neurons[here].abs().sum(dim=0)
        for stream in streams[number + 1 : -1]:
            directions = nn.functional.normalize(stream.cpu()[here].float(), dim=1)
            energy += directions.T @ directions
    length = streams[number + 1][0, list(opening.slots)].float().norm(dim=1).mean().item()
    return Observed(x[0, : len(opening.tokens)], torch.cat(of_chats), usage, energy, length)


@contextmanager
def inputs_of(*modules: nn.Module) -> Iterator[list[Tensor]]:
    """What goes into some modules, in the order in which they are called."""
    found: list[Tensor] = []
    with ExitStack() as handles:
        for module in modules:
            handles.enter_context(module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0])))
        yield found
