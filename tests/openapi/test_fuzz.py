"""Schemathesis over the whole description, against a whole server: no fault of it, no answer that is not described."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.tiny_models import make_adapter, make_model
from tests.engine.tokenizers import byte_level_tokenizer
from tests.startup.conftest import Served, start_server

CONFIG = Path(__file__).with_name("schemathesis.toml")
SECONDS = int(os.environ.get("FUZZ_SECONDS", "50"))
PHASES = ("examples,stateful", "coverage,fuzzing")  # each gets half of the time
CONTEXT = 128  # tokens, so that an answer without `max_tokens` ends soon


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`manage.py serve` with a tiny model, in a folder whose example adapter fits it."""
    folder = tmp_path_factory.mktemp("fuzzed")
    model = make_model("llama", folder)
    shorten(model)
    byte_level_tokenizer(model)
    make_adapter(model, folder / "examples/refund_policy/adapter")
    server = start_server(
        folder / "home",
        model,
        folder=folder,
        LAB_ADAPTER_ROOTS=str(folder / "examples"),
        LAB_OPEN_LOOPBACK="0",
        LAB_LOG_LEVEL="CRITICAL",
        HF_HUB_OFFLINE="1",
    )
    yield server.wait_until_up()
    server.stop()


def shorten(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": CONTEXT}))


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.parametrize("phases", PHASES)
def test_no_request_finds_a_fault_or_an_answer_that_is_not_described(
    phases: str, server: Served, tmp_path: Path
) -> None:
    token = json.loads((server.home / "bootstrap.json").read_text())["cli_token"]
    command = [Path(sys.executable).with_name("schemathesis"), f"--config-file={CONFIG}", "run", "--no-color"]
    options = [f"--max-time={SECONDS // len(PHASES)}", f"--phases={phases}"]
    run = subprocess.run(
        [*command, *options, f"{server.url}/api/schema?format=json"],
        env={**os.environ, "LAB_CLI_TOKEN": token},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
