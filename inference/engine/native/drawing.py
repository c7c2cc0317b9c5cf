"""Drawing tokens by a compiled function, which looks at the logits a few times where torch sorts them."""

import ctypes
from collections.abc import Sequence

from torch import Tensor

from inference.engine.native.kernels import Function, fields
from inference.engine.sampler import SamplingState, drawn_rows


class Drawing(ctypes.Structure):
    """`drawing` in drawing.h."""

    _fields_ = fields("logits", "", "scale top_p share") + fields("", "top_k token")


class NativeDraw:
    """See `sampler.Draw`.

    Args:
        draw: the function in drawing.h.
    """

    def __init__(self, draw: Function) -> None:
        self.draw = draw

    def __call__(self, logits: Tensor, states: Sequence[SamplingState]) -> dict[int, int]:
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
        self.draw(ctypes.addressof(drawings), len(rows), vocabulary)
        return {row: drawing.token for row, drawing in zip(rows, drawings, strict=True)}
