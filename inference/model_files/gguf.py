"""GGUF files (llama.cpp's format) made into the folder that transformers and the engine load.

Source: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import TYPE_CHECKING

from inference.model_files.folder import ModelUnavailable
from inference.model_files.progress import Report

if TYPE_CHECKING:
    from tokenizers.pre_tokenizers import PreTokenizer


def content_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill_from_gguf(gguf: Path, folder: Path, report: Report) -> None:
    """Write `gguf`'s weights, configuration, tokenizer and chat template into `folder`.

    The weights are stored as float32: a quantised weight is a product of a scale and a small whole number,
    which no 16-bit type holds exactly.

    Raises:
        ModelUnavailable: transformers cannot read the file.
        OSError: `folder` cannot be written.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    what = f"Converting {gguf.name}"
    report(what, 0, 3)
    with quiet_transformers():
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            report(what, 1, 3)
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            report(what, 2, 3)
        except Exception as error:  # whatever a damaged file makes its readers stumble over
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise ModelUnavailable(
                f"{gguf} cannot be converted ({reason}). Give LAB_MODEL a folder with safetensors weights."
            ) from error
        if splitter := pre_tokenizer(gguf):
            tokenizer.backend_tokenizer.pre_tokenizer = splitter
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(folder)
        # Plain floats by now, but transformers still takes them for packed blocks, which it refuses to save
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
        model.save_pretrained(folder)
    report(what, 3, 3)


def pre_tokenizer(gguf: Path) -> "PreTokenizer | None":
    """How SmolLM's tokenizer cuts text before its merges, where the file names it; None: transformers knows.

    Each digit stands alone, cut off before the spaces around it are: "\\n\\n1" starts with one token for both
    line breaks. transformers 5.24 does not know this name and would cut as GPT-2 does.
    Source: llama.cpp, src/llama-vocab.cpp, LLAMA_VOCAB_PRE_TYPE_SMOLLM.
    """
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    if field is None or field.contents() != "smollm":
        return None
    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' own bars and advice off the terminal."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):  # the GGUF loader's own bar heeds no setting
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
