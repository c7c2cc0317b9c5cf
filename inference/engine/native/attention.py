"""Attention by a compiled function that reads just what each row holds."""

import ctypes
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from inference.engine.attention import PrefillChunk, Rotation
from inference.engine.families import DecoderSpec
from inference.engine.native.kernels import ALL, Function
from inference.engine.step import Placed

# So many pairs of a token and one that it sees are faster token by token than by products of matrices, each of which
# takes a while however small it is. Measured with AVX-512: at 8,000 to 10,000 both are even
FEW_PAIRS = 8192
FEW_TOKENS = 4  # that are faster one by one than on tile registers


class NativeAttention:
    """See `step.Attention`. Where products of matrices pay and there are no tile registers, they are torch's.

    Attributes:
        places: [T, 4] int64, `place` in kernels.c: where each token's keys and values go.
        asking: int64, the tokens that are asked one by one.
        chunks: [.., 2] int64, `chunk` in chunks.h.
        of_torch: the pieces of prompts that torch attends to.
        attend_asking, attend_chunks: the functions for the two.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        attend_asking: Function,
        attend_chunks: Function | None,
        spec: DecoderSpec,
        rotations: Sequence[Rotation],
        rows: Sequence[Placed],
        tokens: int,
    ) -> None:
        self.library, self.spec = library, spec
        self.attend_asking, self.attend_chunks = attend_asking, attend_chunks
        self.turns = [(cosines.data_ptr(), sines.data_ptr()) for cosines, sines in rotations]
        self.places = np.empty((tokens, 4), dtype=np.int64)
        asking: list[int] = []
        chunks: list[tuple[int, int]] = []
        self.of_torch: list[PrefillChunk] = []
        for placed in rows:
            kv, index = placed.row.kv.slab.kv, placed.row.kv.index
            layer_stride, row_stride, head_stride = kv.stride()[:3]
            row_at = kv.data_ptr() + index * row_stride * kv.element_size()
            self.places[placed.first : placed.stop, :3] = row_at, layer_stride, head_stride
            self.places[placed.first : placed.stop, 3] = range(placed.row.start, placed.length)
            count = len(placed.row.tokens)
            if count == 1 or (count * placed.length <= FEW_PAIRS if attend_chunks is None else count <= FEW_TOKENS):
                asking += range(placed.first, placed.stop)
            elif attend_chunks:
                chunks.append((placed.first, count))
            else:
                self.of_torch.append(PrefillChunk.of(placed, spec, kv.dtype, kv.device))
        self.asking, self.chunks = np.array(asking, dtype=np.int64), np.array(chunks, dtype=np.int64)
        self.places_at, self.asking_at = self.places.ctypes.data, self.asking.ctypes.data
        self.chunks_at = self.chunks.ctypes.data

    def attend(self, qkv: Tensor, layer: int) -> Tensor:
        spec = self.spec
        tokens, sizes = len(qkv), (layer, spec.heads, spec.kv_heads, spec.head_dim)
        turn, window = self.turns[spec.rope_of_layer[layer]], spec.windows[layer]
        self.library.rotate_and_write(qkv.data_ptr(), *turn, self.places_at, tokens, *sizes)
        out = qkv.new_empty(tokens, spec.q_size)
        ends = (*sizes, window or ALL, spec.attention_scale)
        if len(self.asking):
            self.attend_asking(qkv.data_ptr(), self.places_at, self.asking_at, out.data_ptr(), len(self.asking), *ends)
        if self.attend_chunks and len(self.chunks):
            self.attend_chunks(qkv.data_ptr(), self.places_at, self.chunks_at, out.data_ptr(), len(self.chunks), *ends)
        if self.of_torch:
            queries = qkv.view(tokens, -1, spec.head_dim)[:, : spec.heads]
            for chunk in self.of_torch:
                out[chunk.placed.first : chunk.placed.stop] = chunk.attend(queries, layer, spec)
        return out
