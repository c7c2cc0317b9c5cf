"""GGUF files (llama.cpp's format) made into the folder that transformers and the engine load.

Source: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, redirect_stderr
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from inference.model_files.folder import ModelUnavailable
from inference.model_files.progress import Report

if TYPE_CHECKING:
    import torch
    from tokenizers.pre_tokenizers import PreTokenizer


def content_hash(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fill_from_gguf(gguf: Path, folder: Path, report: Report) -> None:
    """Write `gguf`'s weights, configuration, tokenizer and chat template into `folder`.

    In a process of its own: what transformers needs meanwhile, several times the weights, is gone with it.

    Raises:
        ModelUnavailable: transformers cannot read the file.
        OSError: `folder` cannot be written.
    """
    what = f"Converting {gguf.name}"
    steps = (write_tokenizer, write_weights)
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        for done, write in enumerate(steps):
            report(what, done, len(steps))
            process.submit(write, gguf, folder).result()
    report(what, len(steps), len(steps))


def write_tokenizer(gguf: Path, folder: Path) -> None:
    """Raises ModelUnavailable."""
    from transformers import AutoTokenizer

    with quiet_transformers():
        with readable(gguf):
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
            if splitter := pre_tokenizer(gguf):
                tokenizer.backend_tokenizer.pre_tokenizer = splitter
        tokenizer.save_pretrained(folder)


def write_weights(gguf: Path, folder: Path) -> None:
    """Weights and configuration, and the model's context into that of the tokenizer.

    Raises:
        ModelUnavailable: transformers cannot read the file.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with quiet_transformers():
        with readable(gguf):
            model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            model.to(stored_dtype(gguf))
        # Plain floats by now, but transformers still takes them for packed blocks, which it refuses to save
        model.hf_quantizer = None
        vars(model.config).pop("quantization_config", None)
        model.save_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(folder)


def stored_dtype(gguf: Path) -> "torch.dtype":
    """What the weights are stored as: float16 if it loses far less than quantising did, else float32.

    The scales of quantised weights are float16. bfloat16's range is beyond it. Q4_1 and Q8_0 are stored without loss,
    for the engine then finds their bits again.
    """
    import torch
    from gguf import GGMLQuantizationType as Kind
    from gguf import GGUFReader

    kinds = {tensor.tensor_type for tensor in GGUFReader(gguf).tensors if len(tensor.shape) > 1}
    exact = kinds <= {Kind.F32, Kind.Q4_1, Kind.Q8_0} or Kind.BF16 in kinds
    return torch.float32 if exact else torch.float16


@contextmanager
def readable(gguf: Path) -> Iterator[None]:
    """Raises ModelUnavailable for whatever a damaged file makes its readers stumble over."""
    try:
        yield
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise ModelUnavailable(
            f"{gguf} cannot be converted ({reason}). Give LAB_MODEL a folder with safetensors weights."
        ) from error


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
