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
BUDGET_S = int(os.environ.get("FUZZ_SECONDS", "40"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """`manage.py serve` with a tiny model, in a folder whose example adapter fits it."""
    model = make_model("llama", tmp_path)
    byte_level_tokenizer(model)
    make_adapter(model, tmp_path / "examples/refund_policy/adapter")
    server = start_server(
        tmp_path / "home",
        model,
        folder=tmp_path,
        LAB_ADAPTER_ROOTS=str(tmp_path / "examples"),
        LAB_OPEN_LOOPBACK="0",
        LAB_LOG_LEVEL="CRITICAL",
        HF_HUB_OFFLINE="1",
    )
    yield server.wait_until_up()
    server.stop()


@pytest.mark.timeout(BUDGET_S + 200)
def test_no_request_finds_a_fault_or_an_answer_that_is_not_described(server: Served, tmp_path: Path) -> None:
    token = json.loads((server.home / "bootstrap.json").read_text())["cli_token"]
    command = [Path(sys.executable).with_name("schemathesis"), f"--config-file={CONFIG}", "run", "--no-color"]
    options = [f"--max-time={BUDGET_S}", "--phases=examples,coverage,fuzzing,stateful"]
    run = subprocess.run(
        [*command, *options, f"{server.url}/api/schema?format=json"],
        env={**os.environ, "LAB_CLI_TOKEN": token},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout + run.stderr
