"""The forward pass over a flat batch of tokens, for every family that `families.py` describes."""

import torch
from torch import Tensor
from torch.nn import functional as F

from inference.engine.families import DecoderSpec, Rope
from inference.engine.step import DecodeGroup, Masks, PrefillChunk, Step
from inference.engine.weights import LayerWeights, ModelWeights


class Decoder:
    """A decoder-only transformer."""

    def __init__(self, spec: DecoderSpec, weights: ModelWeights, max_len: int) -> None:
        self.spec = spec
        self.weights = weights
        embedding = weights.embedding
        self.rotations = [rotation(rope, max_len, embedding.dtype, embedding.device) for rope in spec.ropes]

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
            x = x * torch.tensor(spec.embedding_scale, dtype=x.dtype, device=x.device)
        turns = [
            (cosines.index_select(0, step.positions), sines.index_select(0, step.positions))
            for cosines, sines in self.rotations
        ]
        for index, layer in enumerate(weights.layers[:layers]):
            x = x + self.attention(x, index, layer, step, turns[spec.rope_of_layer[index]])
            x = x + self.feed_forward(x, index, layer, step)
        return x

    def attention(self, x: Tensor, index: int, layer: LayerWeights, step: Step, turn: tuple[Tensor, Tensor]) -> Tensor:
        spec = self.spec
        x = layer.input_norm(x)
        qkv = layer.qkv(x)
        step.plan.apply(x, qkv, index, "qkv")
        heads = qkv.view(-1, spec.heads + 2 * spec.kv_heads, spec.head_dim)
        queries_and_keys = heads[:, : spec.heads + spec.kv_heads]
        if layer.qk_norm is not None:
            normed = F.rms_norm(queries_and_keys, (spec.head_dim,), None, spec.norm_eps)
            queries_and_keys.copy_(normed * layer.qk_norm)
        rotate(queries_and_keys, *turn)
        keys_and_values = heads[:, spec.heads :]
        for write in step.writes:
            new = keys_and_values if write.tokens is None else keys_and_values.index_select(0, write.tokens)
            write.slab.kv[index][write.rows, :, write.positions] = new
        answer = self.attend(heads[:, : spec.heads], index, step)
        out = layer.o(answer)
        step.plan.apply(answer, out, index, "o")
        return out if layer.post_attention_norm is None else layer.post_attention_norm(out)

    def attend(self, queries: Tensor, index: int, step: Step) -> Tensor:
        """queries [T, heads, head_dim] -> [T, heads * head_dim]."""
        pieces = [self.attend_group(queries, index, group) for group in step.groups]
        pieces += [self.attend_chunk(queries, index, chunk) for chunk in step.chunks]
        answers = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
        return answers if step.answers is None else answers.index_select(0, step.answers)

    def attend_group(self, queries: Tensor, index: int, group: DecodeGroup) -> Tensor:
        """The slab's rows at once; the query heads of one key head stand where other code has query positions."""
        spec = self.spec
        asked = queries[: group.count] if group.queries is None else queries.index_select(0, group.queries)
        asked = asked.reshape(group.count, spec.kv_heads, -1, spec.head_dim)
        kv = group.slab.kv[index, : group.count, :, : group.length]
        return self.attend_rows(asked, kv, group.masks, index).reshape(group.count, spec.q_size)

    def attend_chunk(self, queries: Tensor, index: int, chunk: PrefillChunk) -> Tensor:
        spec = self.spec
        count = chunk.last - chunk.first
        asked = queries[chunk.first : chunk.last].view(count, spec.kv_heads, -1, spec.head_dim)
        asked = asked.transpose(0, 1).reshape(1, spec.kv_heads, -1, spec.head_dim)
        kv = chunk.slab.kv[index, chunk.row : chunk.row + 1, :, : chunk.length]
        answer = self.attend_rows(asked, kv, chunk.masks, index)
        return answer.view(spec.kv_heads, count, -1, spec.head_dim).transpose(0, 1).reshape(count, spec.q_size)

    def attend_rows(self, queries: Tensor, kv: Tensor, masks: Masks, index: int) -> Tensor:
        """queries [rows, kv_heads, n, head_dim], kv [rows, 2 * kv_heads, length, head_dim] -> like queries."""
        spec = self.spec
        return F.scaled_dot_product_attention(
            queries,
            kv[:, : spec.kv_heads],
            kv[:, spec.kv_heads :],
            attn_mask=masks[spec.windows[index]],
            scale=spec.attention_scale,
        )

    def feed_forward(self, x: Tensor, index: int, layer: LayerWeights, step: Step) -> Tensor:
        x = layer.feed_forward_norm(x)
        gate_up = layer.gate_up(x)
        step.plan.apply(x, gate_up, index, "gate_up")
        gate, up = gate_up.chunk(2, dim=1)
        gated = (F.silu(gate) if self.spec.activation == "silu" else F.gelu(gate, approximate="tanh")) * up
        out = layer.down(gated)
        step.plan.apply(gated, out, index, "down")
        return out if layer.post_feed_forward_norm is None else layer.post_feed_forward_norm(out)


def rotation(rope: Rope, positions: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and signed sines of every position: each [positions, 1, head_dim]."""
    angles = torch.outer(torch.arange(positions, dtype=torch.float32), rope.inverse_frequencies)
    cosines, sines = angles.cos() * rope.scale, angles.sin() * rope.scale
    return (
        torch.cat((cosines, cosines), dim=1).unsqueeze(1).to(device, dtype),
        torch.cat((-sines, sines), dim=1).unsqueeze(1).to(device, dtype),
    )


def rotate(heads: Tensor, cosines: Tensor, sines: Tensor) -> None:
    """Turn heads [T, n, head_dim] in place: x cos + (second half, first half) sin, the sines carrying the sign."""
    swapped = heads.roll(heads.shape[-1] // 2, -1)
    heads.mul_(cosines).addcmul_(swapped, sines)
