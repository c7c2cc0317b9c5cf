"""Sentences read by the frozen base model, each alone, right after the opening of a chat."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from inference.d2l.opening import Opening
from inference.engine.decoder import Decoder
from inference.engine.kv_cache import SLAB_TOKENS, KVCache, row_capacity
from inference.engine.projections import Group
from inference.engine.step import Plan, StepBuilder, StepRow
from inference.engine.tokenizer import Tokenizer

TOGETHER = 32


@dataclass
class Trace:
    """A plan that changes nothing and keeps what it sees, layer by layer.

    Attributes:
        inputs: [tokens, hidden] into the layer's q, k and v projections.
        keys_and_values: [tokens, 2 * kv_size] out of the k and v projections, before norm and rotation.
    """

    kv_size: int
    inputs: list[Tensor] = field(default_factory=list)
    keys_and_values: list[Tensor] = field(default_factory=list)

    def apply(self, x: Tensor, y: Tensor, layer: int, group: Group) -> None:
        if group == "qkv":
            self.inputs.append(x)
            self.keys_and_values.append(y[:, -2 * self.kv_size :].clone())


class Reader:
    """Reads with an engine's weights, beside the engine: what it changes is its own. Safe on any thread.

    Attributes:
        opening: the tokens that every chat begins with.
    """

    def __init__(self, decoder: Decoder, tokenizer: Tokenizer) -> None:
        self.decoder = decoder
        self.spec = decoder.spec
        self.tokenizer = tokenizer
        self.opening = Opening.of(tokenizer)
        embedding = decoder.weights.embedding
        self.dtype, self.device = embedding.dtype, embedding.device
        self.builder = StepBuilder(decoder.operations, self.device)
        self.opening_kv = self.read_opening(Trace(self.spec.kv_size))

    @torch.inference_mode()
    def states(self, sentences: Sequence[list[int]], layers: int) -> list[Tensor]:
        """The residual stream of each sentence after the first `layers` layers: [tokens, hidden] each."""
        found: list[Tensor] = []
        for batch in batches(sentences):
            found += self.run(batch, Trace(self.spec.kv_size), layers).split([len(sentence) for sentence in batch])
        return found

    @torch.inference_mode()
    def trace(self, sentences: Sequence[list[int]]) -> Trace:
        """What goes in and out of the attention of all layers, the sentences' tokens laid end to end."""
        trace = Trace(self.spec.kv_size)
        self.run(sentences, trace, self.spec.layers)
        return trace

    def run(self, sentences: Sequence[list[int]], plan: Plan, layers: int) -> Tensor:
        """[all tokens, hidden] after the first `layers` layers."""
        start = len(self.opening.tokens)
        kv = self.cache(rows=len(sentences), longest=start + max(len(sentence) for sentence in sentences))
        rows = []
        for sentence in sentences:
            row = kv.allocate(start + len(sentence))
            assert row is not None, "the cache was made to hold them all"
            kv.copy_in(row, 0, self.opening_kv)
            rows.append(StepRow(row, sentence, start, None, sample=False))
        step = replace(self.builder.build(rows), plan=plan)
        return self.decoder.hidden(step, layers)

    @torch.inference_mode()
    def read_opening(self, plan: Plan) -> Tensor:
        """Run the opening under a plan; returns its keys and values: [layers, 2 * kv_heads, tokens, head_dim]."""
        tokens = self.opening.tokens
        kv = self.cache(rows=1, longest=len(tokens))
        row = kv.allocate(len(tokens))
        assert row is not None, "the cache was made to hold it"
        step = replace(self.builder.build([StepRow(row, tokens, 0, None, sample=False)]), plan=plan)
        self.decoder.hidden(step, self.spec.layers)
        return kv.copy_out(row, 0, len(tokens))

    def cache(self, rows: int, longest: int) -> KVCache:
        budget = rows * row_capacity(longest) + SLAB_TOKENS  # the last slab need not be full
        return KVCache(self.spec, self.dtype, self.device, budget, longest)


def batches(sentences: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """At most `TOGETHER` at a time: about a prefill chunk or two, and bounded memory."""
    for start in range(0, len(sentences), TOGETHER):
        yield sentences[start : start + TOGETHER]
