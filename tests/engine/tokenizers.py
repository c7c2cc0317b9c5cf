"""Tiny tokenizers of the two kinds there are, each in a folder as a model has it."""

from pathlib import Path

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from inference.engine.tokenizer import BYTE_OF_CHARACTER, Tokenizer

SPECIAL = ["<unk>", "<s>", "</s>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('role ' ~ message.role ~ ' is unknown') }}{% endif %}"
    "{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def byte_level_tokenizer(folder: Path) -> Tokenizer:
    """Each byte a token, as GPT-2's alphabet writes it, and a few merges."""
    merges = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("s", "t"), ("o", "p")]
    pieces = [*SPECIAL, *BYTE_OF_CHARACTER, *(first + second for first, second in merges)]
    backend = Backend(models.BPE({piece: token for token, piece in enumerate(pieces)}, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return saved(backend, folder)


def byte_fallback_tokenizer(folder: Path) -> Tokenizer:
    """As sentencepiece's: spaces written as ▁, the first one dropped, bytes only for characters it lacks."""
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he")]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz.,é\n"]
    pieces = [*SPECIAL, *bytes_, *letters, *(first + second for first, second in merges)]
    vocabulary = {piece: token for token, piece in enumerate(pieces)}
    backend = Backend(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return saved(backend, folder)


def saved(backend: Backend, folder: Path) -> Tokenizer:
    backend.add_special_tokens([AddedToken(piece, special=True) for piece in SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template=CHAT_TEMPLATE
    )
    fast.save_pretrained(folder)
    return Tokenizer(folder)
