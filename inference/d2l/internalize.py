"""A document in, the folder of an adapter out, in one pass."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.d2l.errors import D2LError, DocumentTooLong
from inference.d2l.factors import write
from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.peft_files import save
from inference.d2l.reader import Reader
from inference.d2l.reading import read
from inference.d2l.sentences import sentences
from inference.engine.decoder import Decoder
from inference.engine.engine import Engine
from inference.engine.tokenizer import Tokenizer

log = logging.getLogger(__name__)

LONGEST_DOCUMENT = 8192  # tokens
CHARACTERS_PER_TOKEN = 32  # more than any text has on average; spares tokenizing what is too long anyway


@dataclass(frozen=True)
class Internalized:
    """What was made: the tokens that were read, and the adapter's rank."""

    document_tokens: int
    rank: int


class Internalizer:
    """One base model with the hypernetwork that was trained on it.

    Raises:
        HypernetworkMisfit, BaseUnsupported
    """

    def __init__(self, hypernetwork: Hypernetwork, decoder: Decoder, tokenizer: Tokenizer, base_model: str) -> None:
        hypernetwork.require_fit(decoder, base_model)
        self.hypernetwork = hypernetwork
        self.reader = Reader(decoder, tokenizer)
        self.base_model = base_model

    def internalize(self, text: str, folder: Path) -> Internalized:
        """Write the adapter of a document into a folder.

        Raises:
            DocumentTooLong, EmptyDocument, InvalidRequest
        """
        if len(text) > LONGEST_DOCUMENT * CHARACTERS_PER_TOKEN:
            raise DocumentTooLong(LONGEST_DOCUMENT, len(text) // CHARACTERS_PER_TOKEN)
        pieces = sentences(text, self.reader.tokenizer)
        tokens = sum(len(piece) for piece in pieces)
        if tokens > LONGEST_DOCUMENT:
            raise DocumentTooLong(LONGEST_DOCUMENT, tokens)
        reading = read(self.reader, self.hypernetwork.salience, pieces)
        modules = write(self.reader, self.hypernetwork.flags, self.hypernetwork.wanted(reading))
        return Internalized(tokens, save(modules, folder, self.base_model))


def best_that_fits(files: Sequence[Path], engine: Engine, base_model: str) -> Internalizer | None:
    """Of the hypernetworks that were trained on the engine's model, the one with the best held-out score; the first of
    equals. None fits: None.
    """
    best: Internalizer | None = None
    for file in files:
        try:
            found = Internalizer(Hypernetwork.load(file), engine.runner.decoder, engine.tokenizer, base_model)
        except (OSError, ValueError, D2LError) as error:
            log.info("the hypernetwork %s is not used: %s", file.name, error)
            continue
        if best is None or found.hypernetwork.score > best.hypernetwork.score:
            best = found
    return best
