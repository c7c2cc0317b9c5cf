"""Sentences that are read together are read as if each were alone."""

import torch
from torch.nn.functional import cosine_similarity

from inference.d2l.internalize import Internalizer

SENTENCES = ("The gate is green.", "Yes.", "The special magic number for Porto tower is 48213.", "It rains today.")


def test_no_sentence_sees_another(internalizer: Internalizer) -> None:
    reader = internalizer.reader
    pieces = [reader.tokenizer.encode(text) for text in SENTENCES]
    together = reader.states(pieces, 6)
    assert [len(state) for state in together] == [len(piece) for piece in pieces]
    for state, piece in zip(together, pieces, strict=True):
        assert float(cosine_similarity(state, reader.states([piece], 6)[0]).min()) > 0.98
    traces = [reader.trace([piece]) for piece in pieces]
    for layer, seen in enumerate(reader.trace(pieces).keys_and_values):
        alone = torch.cat([trace.keys_and_values[layer] for trace in traces])
        assert float(cosine_similarity(seen.float(), alone.float()).min()) > 0.98


def test_many_sentences_are_read_in_batches(internalizer: Internalizer) -> None:
    piece = internalizer.reader.tokenizer.encode(SENTENCES[2])
    states = internalizer.reader.states([piece] * 40, 2)
    assert len(states) == 40
    assert float(cosine_similarity(states[0].float(), states[-1].float()).min()) > 0.98
