"""`python -m benchmarks.engine_steps`: the engine's steps by themselves, without a server, on any device.

Prints how far the logits of a mixed batch are from PEFT's in float32, how long a decode step takes with every row
on an adapter of its own, against one on the base model, and how long drawing its tokens takes. The adapters are made.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from rich.console import Console
from transformers import AutoModelForCausalLM

from benchmarks.peers import make_adapters
from inference.engine.adapter_file import read_adapter
from inference.engine.config import EngineConfig
from inference.engine.lora import Slot
from inference.engine.model_runner import ModelRunner, StepRow
from inference.engine.sampler import Choice, SamplingState, TorchChoice
from inference.engine.sampling import SamplingParams

PROMPT_TOKENS = 40
STEPS = 60
COMPARED = 4
CHOSEN_ROWS = 16
CHOSEN = (
    {"temperature": 0.0},
    {"temperature": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 2.0, "top_p": 0.9},
)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--model", type=Path, required=True, help="A model folder.")
    options.add_argument("--batch", type=int, nargs="+", default=[1, 16, 32])
    chosen = options.parse_args()
    model = chosen.model
    config = EngineConfig(model)
    device, dtype = config.torch_device(), config.torch_dtype()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    out = Console(soft_wrap=True)
    out.print(f"{device.type} ({name}), {str(dtype).removeprefix('torch.')}")
    with tempfile.TemporaryDirectory() as folder:
        adapters = make_adapters(model, Path(folder), max(chosen.batch), strength=0.1)
        out.print(f"largest difference of a logit from PEFT's, float32: {difference(model, adapters, device):.1e}")
        runner = load(model, dtype, device, len(adapters))
        slots = [install(runner, adapter) for adapter in adapters]
        for batch in chosen.batch:
            base, mixed = steps_ms(runner, [None] * batch, slots[:batch])
            out.print(
                f"batch {batch:2}: base {base:.2f} ms, {batch} adapters {mixed:.2f} ms a step; "
                f"adapters / base in tokens a second {base / mixed:.2f}"
            )
        for asked in CHOSEN:
            engine, by_torch = choose_ms(runner, asked, runner.choice), choose_ms(runner, asked, TorchChoice())
            how = ", ".join(f"{name} {value}" for name, value in asked.items())
            out.print(
                f"{CHOSEN_ROWS} tokens at {how}: chosen in {engine:.2f} ms, by torch's operations in {by_torch:.2f}"
            )


def load(model: Path, dtype: torch.dtype, device: torch.device, slots: int) -> ModelRunner:
    return ModelRunner.load(model, dtype, device, slots, 64, kv_tokens=65_536, max_len=2048)


def install(runner: ModelRunner, adapter: Path) -> Slot:
    weights = read_adapter(adapter, runner.spec, 64)
    slot = runner.lora.make_room(weights)
    slot.fill(weights)
    return slot


def difference(model: Path, adapters: Sequence[Path], device: torch.device) -> float:
    """The largest over a mixed batch of prompts, each with PEFT alone."""
    compared = adapters[:COMPARED]
    runner = load(model, torch.float32, device, len(compared))
    prompts = [list(range(100 + index, 120 + 7 * index)) for index in range(len(compared))]
    rows = [
        StepRow(kv, prompt, 0, install(runner, adapter), sample=True)
        for adapter, prompt in zip(compared, prompts, strict=True)
        if (kv := runner.kv.allocate(len(prompt)))
    ]
    logits = runner.step(rows)
    largest = 0.0
    for adapter, prompt, row in zip(compared, prompts, logits, strict=True):
        base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        peft = PeftModel.from_pretrained(base, adapter).eval().to(device)
        with torch.inference_mode():
            expected = peft(torch.tensor([prompt], device=device)).logits[0, -1]
        largest = max(largest, float((row - expected).abs().max()))
    return largest


def steps_ms(runner: ModelRunner, *loads: Sequence[Slot | None]) -> list[float]:
    """The median of each load's decode steps, measured in turn: a machine's speed may change within seconds."""
    in_turn = zip(*(step_seconds(runner, slots) for slots in loads), strict=True)
    return [statistics.median(of_load) * 1e3 for of_load in zip(*in_turn, strict=True)]


def step_seconds(runner: ModelRunner, slots: Sequence[Slot | None]) -> Iterator[float]:
    """How long each decode step takes, with its greedy tokens on the host."""
    kvs = [kv for _ in slots if (kv := runner.kv.allocate(PROMPT_TOKENS + STEPS))]
    prompt = list(range(100, 100 + PROMPT_TOKENS))
    tokens = advance(runner, [StepRow(kv, prompt, 0, slot, True) for kv, slot in zip(kvs, slots, strict=True)])
    for position in range(PROMPT_TOKENS, PROMPT_TOKENS + STEPS):
        started = time.perf_counter()
        rows = zip(kvs, tokens, slots, strict=True)
        tokens = advance(runner, [StepRow(kv, [token], position, slot, True) for kv, token, slot in rows])
        yield time.perf_counter() - started
    for kv in kvs:
        runner.kv.free(kv)


def choose_ms(runner: ModelRunner, asked: dict[str, float], choice: Choice) -> float:
    """The median of choosing a token for each of some rows, given what the model says after different prompts."""
    kvs = [kv for _ in range(CHOSEN_ROWS) if (kv := runner.kv.allocate(PROMPT_TOKENS))]
    prompts = [list(range(100 + index, 100 + index + PROMPT_TOKENS)) for index in range(CHOSEN_ROWS)]
    logits = runner.step([StepRow(kv, prompt, 0, None, True) for kv, prompt in zip(kvs, prompts, strict=True)])
    states = [SamplingState(SamplingParams(**asked, seed=index), [], []) for index in range(CHOSEN_ROWS)]
    times = []
    for _ in range(STEPS):
        started = time.perf_counter()
        choice.likeliest(logits)
        choice.draw(logits, states)
        times.append(time.perf_counter() - started)
    for kv in kvs:
        runner.kv.free(kv)
    return statistics.median(times) * 1e3


def advance(runner: ModelRunner, rows: list[StepRow]) -> list[int]:
    return runner.choice.likeliest(runner.step(rows))[0]


if __name__ == "__main__":
    main()
