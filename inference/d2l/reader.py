"""Sentences read by the frozen base model, each alone, right after the opening of a chat."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from inference.d2l.opening import Opening
from inference.engine.attention import PrefillChunk, Rotation, TorchAttention, make_masks
from inference.engine.decoder import Decoder
from inference.engine.families import DecoderSpec
from inference.engine.kv_cache import KVCache, KVRow
from inference.engine.projections import Group
from inference.engine.step import Placed, Plan, StepBuilder, StepRow
from inference.engine.tokenizer import Tokenizer

TOGETHER = 256  # tokens


@dataclass
class Trace(Plan):
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


class Apart(TorchAttention):
    """Sentences end to end in one row, of which each sees what was there before all of them, and itself."""

    def __init__(
        self, spec: DecoderSpec, rotations: Sequence[Rotation], placed: Placed, lengths: Sequence[int]
    ) -> None:
        super().__init__(spec, rotations, [placed], sum(lengths))
        before = torch.arange(placed.row.start, device=self.device)
        positions = torch.cat([torch.arange(length, device=self.device) for length in lengths]) + len(before)
        self.turns = [(cosines[positions], sines[positions]) for cosines, sines in rotations]
        sentence = torch.arange(len(lengths), device=self.device).repeat_interleave(self.tensor(list(lengths)))
        group = spec.heads // spec.kv_heads
        asked, owner = (each.repeat_interleave(group).view(-1, 1) for each in (positions, sentence))
        others = torch.cat((torch.zeros_like(owner, dtype=torch.bool).expand(-1, len(before)), owner != sentence), 1)
        masks = make_masks(asked, torch.cat((before, positions)), spec, self.dtype)
        for mask in masks.values():
            mask.masked_fill_(others, float("-inf"))
        self.chunks = [PrefillChunk(placed, masks)]


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
        """[all tokens, hidden] after the first `layers` layers.

        The sentences lie end to end in one row of the cache, behind the opening: one attention call for all of them.
        """
        start = len(self.opening.tokens)
        tokens = [token for sentence in sentences for token in sentence]
        with self.row(start + len(tokens), layers) as (kv, row):
            kv.copy_in(row, 0, self.opening_kv[:layers])
            placed = Placed(StepRow(row, tokens, start, None, sample=False), 0)
            step = replace(self.builder.build([placed.row]), plan=plan)
            if len(sentences) > 1:
                rotations = self.decoder.operations.rotations
                step = replace(step, attention=Apart(self.spec, rotations, placed, [len(each) for each in sentences]))
            return self.decoder.hidden(step, layers)

    @torch.inference_mode()
    def read_opening(self, plan: Plan) -> Tensor:
        """Run the opening under a plan; returns its keys and values: [layers, 2 * kv_heads, tokens, head_dim]."""
        tokens = self.opening.tokens
        with self.row(len(tokens), self.spec.layers) as (kv, row):
            step = replace(self.builder.build([StepRow(row, tokens, 0, None, sample=False)]), plan=plan)
            self.decoder.hidden(step, self.spec.layers)
            return kv.copy_out(row, 0, len(tokens))

    @contextmanager
    def row(self, tokens: int, layers: int) -> Iterator[tuple[KVCache, KVRow]]:
        """A row for so many tokens in a cache of so many layers, whose memory is given back at once."""
        kv = KVCache(replace(self.spec, layers=layers), self.dtype, self.device, tokens, tokens)
        row = kv.allocate(tokens)
        assert row is not None, "the cache was made to hold it"
        try:
            yield kv, row
        finally:
            kv.free(row)


def batches(sentences: Sequence[list[int]]) -> Iterator[Sequence[list[int]]]:
    """At most `TOGETHER` tokens at a time, or one sentence: about a prefill chunk, and bounded memory."""
    batch: list[list[int]] = []
    for sentence in sentences:
        if batch and sum(map(len, batch)) + len(sentence) > TOGETHER:
            yield batch
            batch = []
        batch.append(sentence)
    yield batch
