from pathlib import Path

import pytest

from inference.engine.errors import InvalidMessages, InvalidRequest, ModelUnsupported
from inference.engine.tokenizer import Tokenizer
from tests.engine.tokenizers import byte_fallback_tokenizer, byte_level_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return byte_level_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def test_a_chat_goes_through_the_models_template(tokenizer: Tokenizer) -> None:
    tokens = tokenizer.encode_chat([{"role": "user", "content": "the €"}])
    assert tokenizer.decode(tokens) == "user: the €\nassistant:"


def test_messages_the_template_refuses_are_refused_with_its_reason(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidMessages, match="role wizard is unknown"):
        tokenizer.encode_chat([{"role": "wizard", "content": "hi"}])


def test_lone_surrogates_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidMessages, match="surrogates"):
        tokenizer.encode_chat([{"role": "user", "content": "\ud800"}])
    with pytest.raises(InvalidRequest):
        tokenizer.encode("\ud800")


def test_a_model_without_template_says_so(tmp_path: Path) -> None:
    tokenizer = byte_level_tokenizer(tmp_path)
    tokenizer.chat.chat_template = None
    with pytest.raises(InvalidMessages, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "hi"}])


def test_a_folder_without_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelUnsupported):
        Tokenizer(tmp_path)


def test_the_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer: Tokenizer, tmp_path: Path) -> None:
    text = "the é€😀."
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))) == text.encode()
    fallback = byte_fallback_tokenizer(tmp_path)
    assert b"".join(map(fallback.token_bytes, fallback.encode("the €"))) == " the €".encode()


def test_a_special_token_and_one_beyond_the_vocabulary_have_bytes_too(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_bytes(2) == b"</s>"
    assert tokenizer.token_bytes(10_000) == b""


def test_the_end_tokens_are_the_generation_configs_and_the_tokenizers(tmp_path: Path) -> None:
    byte_level_tokenizer(tmp_path)
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [7, 9]}')
    assert Tokenizer(tmp_path).eos == (2, 7, 9)
