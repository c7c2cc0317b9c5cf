"""What is kept of a document: the telling tokens, as the base model read them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.d2l.reader import Reader
from inference.d2l.salience import Salience
from inference.d2l.selection import select


@dataclass(frozen=True)
class Reading:
    """
    Attributes:
        tokens: the kept ones, in the order of the document; at most as many as the opening has slots.
        inputs: [layers, kept, hidden] into the attention of each layer.
        keys_and_values: [layers, kept, 2 * kv_size], before norm and rotation.
    """

    tokens: list[int]
    inputs: Tensor
    keys_and_values: Tensor


@torch.inference_mode()
def read(reader: Reader, salience: Salience, sentences: list[list[int]]) -> Reading:
    """The first layers read every sentence, the salience ranks them, and all layers read those that are kept."""
    states = reader.states(sentences, salience.layers)
    scores = salience.logits(torch.cat(states)).split([len(sentence) for sentence in sentences])
    kept = select(scores, len(reader.opening.slots))
    read = [sentences[each.sentence] for each in kept]
    trace = reader.trace(read)
    starts = [sum(len(sentence) for sentence in read[:index]) for index in range(len(read))]
    places = [start + place for start, each in zip(starts, kept, strict=True) for place in each.places]
    tokens = [token for sentence in read for token in sentence]
    return Reading(
        tokens=[tokens[place] for place in places],
        inputs=torch.stack([x[places] for x in trace.inputs]),
        keys_and_values=torch.stack([kv[places] for kv in trace.keys_and_values]),
    )
