import pytest

from inference.d2l.errors import EmptyDocument
from inference.d2l.sentences import LONGEST, sentences
from inference.engine.engine import Engine


def test_sentences_and_lines_are_pieces(engine: Engine) -> None:
    text = "Fees:\n\n- 4.20 pounds for a loaf.  Is it fresh? Yes!"
    pieces = [engine.tokenizer.decode(piece) for piece in sentences(text, engine.tokenizer)]
    assert pieces == ["Fees:", "- 4.20 pounds for a loaf.", "Is it fresh?", "Yes!"]


def test_a_long_one_is_cut_between_words(engine: Engine) -> None:
    text = "word " * 200
    pieces = sentences(text, engine.tokenizer)
    assert max(map(len, pieces)) <= LONGEST
    assert " ".join(engine.tokenizer.decode(piece) for piece in pieces) == text.strip()


def test_so_is_a_word_without_end(engine: Engine) -> None:
    assert max(map(len, sentences("x1" * 5000, engine.tokenizer))) <= LONGEST


def test_white_space_is_no_document(engine: Engine) -> None:
    with pytest.raises(EmptyDocument):
        sentences(" \n\t ", engine.tokenizer)
