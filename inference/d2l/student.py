"""The base model of transformers with documents written over its opening; gradients reach what is written."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from inference.d2l.flags import Flags


class Student:
    """
    Attributes:
        wanted: of a layer the keys and values for the slots, [rows, slots, 2 * kv_size], before norm and rotation.
        is_used: [rows, slots], which slots are written.
    """

    def __init__(self, model: PreTrainedModel, flags: Flags, slots: range) -> None:
        self.model, self.flags, self.slots = model, flags, slice(slots.start, slots.stop)
        self.nothing = torch.eye(len(slots), device=model.device)
        self.wanted: Callable[[int], Tensor]
        self.is_used: Tensor

    @contextmanager
    def writing(self, wanted: Callable[[int], Tensor], is_used: Tensor) -> Iterator[None]:
        """Row by row of what the model is run on."""
        self.wanted, self.is_used = wanted, is_used
        with ExitStack() as handles:
            for handle in self.hooks():
                handles.enter_context(handle)
            yield

    def hooks(self) -> Iterator[torch.utils.hooks.RemovableHandle]:
        layers = self.model.get_submodule("model.layers")
        mlp = layers[self.flags.layer].mlp
        for name, hook in (("gate_proj", self.on_gate), ("up_proj", self.on_up), ("down_proj", self.on_down)):
            yield mlp.get_submodule(name).register_forward_hook(hook)
        for number in range(self.flags.layer + 1, len(layers)):
            attention = layers[number].self_attn
            yield attention.k_proj.register_forward_hook(self.writes(number, 0))
            yield attention.v_proj.register_forward_hook(self.writes(number, 1))

    def on_gate(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return self.with_neurons(out, inputs[0] @ self.flags.gate.T.to(out))

    def on_up(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        return self.with_neurons(out, inputs[0] @ self.flags.up.T.to(out))

    def on_down(self, module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
        raised = inputs[0][..., self.flags.neurons] * self.is_used.unsqueeze(1)
        return out + raised @ self.flags.down.to(out)

    def with_neurons(self, out: Tensor, change: Tensor) -> Tensor:
        changed = out.clone()
        changed[..., self.flags.neurons] += change * self.is_used.unsqueeze(1)
        return changed

    def writes(self, number: int, half: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
        """As `factors.Writing` does, of a layer's keys, or of its values."""

        def hook(module: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> Tensor:
            said = inputs[0] @ self.flags.readers[number].T.to(out)
            both_used = self.is_used.unsqueeze(1) & self.is_used.unsqueeze(2)
            at_slots = torch.where(both_used, said[:, self.slots].detach().float(), self.nothing)
            missing = self.wanted(number).chunk(2, dim=2)[half] - out[:, self.slots].detach().float()
            columns = torch.linalg.solve(at_slots, missing * self.is_used.unsqueeze(2))
            return out + said @ columns.to(out)

        return hook
