import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.detokenizer import Detokenizer, overlap
from inference.engine.tokenizer import Tokenizer
from tests.engine.tokenizers import byte_fallback_tokenizer, byte_level_tokenizer


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_level_tokenizer(tmp_path_factory.mktemp("byte-level"))


@pytest.fixture(scope="module")
def byte_fallback(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_fallback_tokenizer(tmp_path_factory.mktemp("byte-fallback"))


def pieces(tokenizer: Tokenizer, tokens: list[int], stop: tuple[str, ...] = (), min_tokens: int = 0) -> list[str]:
    """What is passed on after each token, and last what is left at the end."""
    detokenizer = Detokenizer(tokenizer, stop, min_tokens)
    passed = []
    for token in tokens:
        passed.append(detokenizer.add(token))
        if detokenizer.stopped:
            return passed
    return [*passed, detokenizer.finish()]


texts = st.text(st.sampled_from("the stop.,é€😀日\n"), max_size=40)


@settings(deadline=None)
@given(text=texts)
def test_the_pieces_make_up_the_text(byte_level: Tokenizer, byte_fallback: Tokenizer, text: str) -> None:
    for tokenizer in (byte_level, byte_fallback):
        tokens = tokenizer.encode(text)
        passed = pieces(tokenizer, tokens)
        assert "".join(passed) == tokenizer.decode(tokens)
        assert not any("\ufffd" in piece for piece in passed)


@settings(deadline=None)
@given(tokens=st.lists(st.integers(3, 260), max_size=60))
def test_garbage_bytes_decode_as_they_do_at_once(byte_level: Tokenizer, tokens: list[int]) -> None:
    assert "".join(pieces(byte_level, tokens)) == byte_level.decode(tokens)


def test_a_character_over_several_tokens_comes_whole(byte_level: Tokenizer) -> None:
    assert pieces(byte_level, byte_level.encode("a😀b")) == ["a", "", "", "", "😀", "b", ""]


def test_a_character_that_is_never_completed_is_replaced_at_the_end(byte_level: Tokenizer) -> None:
    assert pieces(byte_level, byte_level.encode("a😀")[:-1]) == ["a", "", "", "", "\ufffd"]


def test_a_long_run_of_garbage_is_passed_on_and_a_character_after_it_survives(byte_level: Tokenizer) -> None:
    lone = byte_level.encode("é")[1:]
    passed = pieces(byte_level, lone * 500 + byte_level.encode("é€!"))
    assert "".join(passed) == "\ufffd" * 500 + "é€!"
    assert len("".join(passed[:400])) > 380


def test_special_tokens_have_no_text_and_keep_their_neighbours_apart(byte_fallback: Tokenizer) -> None:
    tokens = [*byte_fallback.encode("the"), *[2] * 50, *byte_fallback.encode("the the")]
    assert "".join(pieces(byte_fallback, tokens)) == byte_fallback.decode(tokens) == "the the the"


def test_a_stop_string_over_several_tokens_ends_the_text_before_it(byte_level: Tokenizer) -> None:
    passed = pieces(byte_level, byte_level.encode("abc STOP def"), stop=(" STOP",))
    assert passed[:3] == ["a", "b", "c"]
    assert "".join(passed) == "abc"


def test_what_only_looked_like_a_stop_string_is_passed_on(byte_level: Tokenizer) -> None:
    text = "a STO STOOP ST"
    assert "".join(pieces(byte_level, byte_level.encode(text), stop=(" STOP",))) == text


@settings(deadline=None)
@given(text=st.text("ab", max_size=30), stop=st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=4))
def test_the_stop_string_completed_first_wins(byte_level: Tokenizer, text: str, stop: list[str]) -> None:
    passed = "".join(pieces(byte_level, byte_level.encode(text), stop=tuple(stop)))
    ends = [(text.index(word) + len(word), text.index(word)) for word in stop if word in text]
    assert passed == (text[: min(ends)[1]] if ends else text)


def test_no_piece_is_passed_on_that_turns_out_to_be_a_stop_string(byte_level: Tokenizer) -> None:
    passed = pieces(byte_level, byte_level.encode("aab the stop"), stop=("aac", "ab t", "op!"))
    assert "".join(passed) == "a"


def test_stop_strings_do_not_count_before_min_tokens(byte_level: Tokenizer) -> None:
    tokens = byte_level.encode("a.b.c.d")
    assert "".join(pieces(byte_level, tokens, stop=(".",), min_tokens=5)) == "a.b.c"


def test_a_stop_string_may_hold_characters_of_several_bytes(byte_level: Tokenizer) -> None:
    assert "".join(pieces(byte_level, byte_level.encode("x日本y"), stop=("本",))) == "x日"


@pytest.mark.parametrize(("text", "stop", "characters"), [("xaab", "aabb", 3), ("", "a", 0), ("aa", "aab", 2)])
def test_overlap_is_the_longest_start_of_the_stop_string(text: str, stop: str, characters: int) -> None:
    assert overlap(text, stop) == characters
