"""The model's tokenizer, as the engine and those who answer for it use it."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, GenerationConfig

from inference.engine.errors import InvalidMessages, InvalidRequest, ModelUnsupported

BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")


class Tokenizer:
    """Text to tokens and back, safe on any thread.

    The calls go to the Rust tokenizer itself: transformers' own `__call__` sets padding and truncation on it
    each time, which fails ("Already borrowed") while another thread encodes.

    Attributes:
        eos: tokens that end an answer.
        special: tokens without text.
    """

    def __init__(self, model_path: Path) -> None:
        """Load it.

        Raises:
            ModelUnsupported: there is none, or none that the `tokenizers` library runs.
        """
        try:
            self.chat = AutoTokenizer.from_pretrained(model_path)
        except (OSError, ValueError) as error:
            raise ModelUnsupported(f"The tokenizer in {model_path} cannot be loaded: {error}") from error
        if not self.chat.is_fast:
            raise ModelUnsupported(f"The tokenizer in {model_path} has no tokenizer.json.")
        self.backend = self.chat.backend_tokenizer
        added = self.backend.get_added_tokens_decoder()
        self.added = {token: entry.content for token, entry in added.items()}
        self.special = frozenset(token for token, entry in added.items() if entry.special)
        self.byte_level = '"ByteLevel"' in json.dumps(json.loads(self.backend.to_str())["decoder"])
        self.eos = end_tokens(model_path, self.chat.eos_token_id)

    def encode_chat(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The prompt for the next answer, through the model's chat template.

        Raises:
            InvalidMessages: the model has no template, or its template refuses these messages.
        """
        if self.chat.chat_template is None:
            raise InvalidMessages("cannot be answered: the model has no chat template.")
        try:
            text = self.chat.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False)
        except (TemplateError, TypeError, KeyError, ValueError) as error:
            raise InvalidMessages(f"are refused by the model's chat template: {error}") from error
        try:
            return self.encode(text)
        except InvalidRequest as error:
            raise InvalidMessages("hold characters that are not Unicode text (lone surrogates).") from error

    def encode(self, text: str) -> list[int]:
        """Tokens of a text; special tokens written in it count as such, none are added.

        Raises:
            InvalidRequest: the text holds lone surrogates.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest("text", "holds characters that are not Unicode text.") from error
        return self.backend.encode(text, add_special_tokens=False).ids

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, special ones left out; bytes that are no UTF-8 become U+FFFD."""
        return self.backend.decode(tokens, skip_special_tokens=True)

    def token_bytes(self, token: int) -> bytes:
        """The bytes that one token stands for, which need not be whole characters."""
        if (content := self.added.get(token)) is not None:
            return content.encode()
        piece = self.backend.id_to_token(token)
        if piece is None:  # a vocabulary padded beyond the tokenizer's
            return b""
        if self.byte_level:
            return bytes(BYTE_OF_CHARACTER[character] for character in piece if character in BYTE_OF_CHARACTER)
        if match := BYTE_TOKEN.fullmatch(piece):
            return bytes([int(match[1], 16)])
        return piece.replace("▁", " ").encode()

    def token_text(self, token: int) -> str:
        """`token_bytes` as text, with U+FFFD for bytes that are no UTF-8 by themselves."""
        return self.token_bytes(token).decode(errors="replace")


def end_tokens(model_path: Path, tokenizer_eos: int | None) -> tuple[int, ...]:
    """What ends an answer: the model's own list, which may name several, and the tokenizer's."""
    try:
        stated = GenerationConfig.from_pretrained(model_path).eos_token_id
    except OSError:
        stated = None
    listed = stated if isinstance(stated, list) else [stated]
    return tuple(sorted({token for token in [*listed, tokenizer_eos] if token is not None}))


def byte_alphabet() -> dict[str, int]:
    """The printable characters that byte-level BPE writes for bytes (GPT-2, Radford et al. 2019), inverted."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}


BYTE_OF_CHARACTER = byte_alphabet()
