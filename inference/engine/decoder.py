"""The forward pass over a flat batch of tokens, for every family that `families.py` describes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.engine.families import DecoderSpec
from inference.engine.operations import Operations
from inference.engine.step import Step
from inference.engine.weights import LayerWeights, ModelWeights


class Decoder:
    """A decoder-only transformer."""

    def __init__(self, spec: DecoderSpec, weights: ModelWeights, operations: Operations) -> None:
        self.spec = spec
        self.weights = weights
        self.operations = operations
        self.at_once = operations.at_once(weights.layers)

    def forward(self, step: Step) -> Tensor:
        """Logits after the step's sampled tokens: [sampled, vocab], float32."""
        spec, weights = self.spec, self.weights
        last = weights.final_norm(self.hidden(step, spec.layers).index_select(0, step.sampled))
        logits = weights.lm_head(last).float()
        if spec.logit_softcap:
            logits = torch.tanh(logits / spec.logit_softcap) * spec.logit_softcap
        return logits

    def hidden(self, step: Step, layers: int) -> Tensor:
        """The residual stream after the first `layers` layers: [T, hidden]."""
        spec, weights = self.spec, self.weights
        x = F.embedding(step.tokens, weights.embedding)
        if spec.embedding_scale != 1.0:
            x *= torch.tensor(spec.embedding_scale, dtype=x.dtype, device=x.device)
        change = torch.zeros_like(x)
        x = self.operations.residual(x)
        if self.at_once and self.at_once.can_run(step):
            self.at_once.run(x, change, layers, step)
            return x.add_(change)
        for index, layer in enumerate(weights.layers[:layers]):
            change = self.attention(layer.input_norm.add(x, change), index, layer, step)
            change = self.feed_forward(layer.feed_forward_norm.add(x, change), index, layer, step)
        return x.add_(change)

    def attention(self, x: Tensor, index: int, layer: LayerWeights, step: Step) -> Tensor:
        qkv = step.plan.product(layer.qkv, x, index, "qkv")
        if layer.qk_norm is not None:
            self.operations.norm_heads(qkv.view(len(qkv), -1, self.spec.head_dim), layer.qk_norm)
        answer = step.attention.attend(qkv, index)
        out = step.plan.product(layer.o, answer, index, "o")
        return out if layer.post_attention_norm is None else layer.post_attention_norm(out)

    def feed_forward(self, x: Tensor, index: int, layer: LayerWeights, step: Step) -> Tensor:
        gate_up = step.plan.product(layer.gate_up, x, index, "gate_up")
        gated = self.operations.gate(gate_up)
        out = step.plan.product(layer.down, gated, index, "down")
        return out if layer.post_feed_forward_norm is None else layer.post_feed_forward_norm(out)
