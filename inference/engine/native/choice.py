"""Choosing tokens by compiled functions, which look at the logits a few times where torch sorts them."""

import ctypes
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from inference.engine.native.kernels import apart, fields
from inference.engine.sampler import SamplingState, drawn_rows


class Drawing(ctypes.Structure):
    """`drawing` in choice.h."""

    _fields_ = fields("logits", "", "scale top_p share") + fields("", "top_k token")


class NativeChoice:
    """See `sampler.Choice`."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.find_likeliest, self.draw_all = apart(library, "find_likeliest"), apart(library, "draw")

    def likeliest(self, logits: Tensor) -> tuple[list[int], list[bool]]:
        rows, vocabulary = logits.shape
        tokens, best = np.empty(rows, dtype=np.int64), np.empty(rows, dtype=np.float32)
        self.find_likeliest(logits.data_ptr(), tokens.ctypes.data, best.ctypes.data, rows, vocabulary)
        return tokens.tolist(), np.isfinite(best).tolist()

    def draw(self, logits: Tensor, states: Sequence[SamplingState]) -> dict[int, int]:
        rows, vocabulary = drawn_rows(states), logits.shape[1]
        if not rows:
            return {}
        first, size = logits.data_ptr(), vocabulary * logits.element_size()
        drawings = (Drawing * len(rows))()
        for row, drawing in zip(rows, drawings, strict=True):
            params = states[row].params
            top_k = min(params.top_k, vocabulary) if params.top_k > 0 else vocabulary + 1
            drawing.logits = first + row * size
            drawing.scale, drawing.top_p, drawing.top_k = 1 / params.temperature, params.top_p, top_k
            drawing.share = states[row].draw()
        self.draw_all(ctypes.addressof(drawings), len(rows), vocabulary)
        return {row: drawing.token for row, drawing in zip(rows, drawings, strict=True)}
