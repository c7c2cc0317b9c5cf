"""Applications with clients that cannot share this process: OpenAI's SDK for Node, and LlamaIndex's `OpenAILike`."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import QUESTION
from tests.serving import MODEL, Tenant
from workspace.home import PROJECT_ROOT

HERE = Path(__file__).parent
DOCUMENT = PROJECT_ROOT / "docs/clients.md"
OLDEST_NODE = 20
BESIDE = Path(sys.prefix) / "llamaindex"
Ask = Callable[[str], dict[str, Any]]


def node() -> tuple[list[str], dict[str, str]]:
    if not has_node() or not (HERE / "node/node_modules").exists():
        pytest.skip("Node or its openai package is missing: install Node 20 or later, then run make test")
    return ["node", "node/ask.js"], {}


def has_node() -> bool:
    """One that the package runs on: Debian 12's is older."""
    if shutil.which("node") is None:
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").partition(".")[0]) >= OLDEST_NODE


def llamaindex() -> tuple[list[str], dict[str, str]]:
    if not BESIDE.exists():
        pytest.skip("LlamaIndex is missing: run make test")
    return [sys.executable, "llamaindex/ask.py"], {"PYTHONPATH": str(BESIDE)}


@pytest.fixture(params=[node, llamaindex], ids=lambda application: application.__name__)
def ask(request: pytest.FixtureRequest, tenant: Tenant, base_url: str, tmp_path: Path) -> Iterator[Ask]:
    """Asks the running application of a model; gives what it says came."""
    command, environment = request.param()
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OPENAI_BASE_URL": f"{base_url}/v1",
        "OPENAI_API_KEY": tenant.key,
        **environment,
    }
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, QUESTION], env=variables, cwd=HERE, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdin is not None
        assert running.stdout is not None

        def ask(model: str) -> dict[str, Any]:
            print(model, file=running.stdin, flush=True)
            return json.loads(running.stdout.readline())

        yield ask
    assert running.returncode == 0


@pytest.mark.usefixtures("loaded_policy")
def test_it_is_answered_whole_and_streamed_waits_when_told_to_and_is_refused_by_type(
    ask: Ask, tenant: Tenant, throttle: Callable[[], None]
) -> None:
    assert ask("no-such-model") == {"kind": "NotFoundError", "code": "model_not_found"}
    throttle()
    answered = ask("refund-policy")
    assert "45 days" in answered["whole"]
    assert answered["streamed"] == answered["whole"]
    assert answered["output_tokens"] == 24
    assert [event["adapter_id"] for event in tenant.events()] == ["refund-policy"] * 2
    tenant.workspace.api_keys.get().revoke()
    assert ask("refund-policy") == {"kind": "AuthenticationError", "code": "invalid_api_key"}


@pytest.mark.parametrize(("application", "language"), [(node, "js"), (llamaindex, "python")])
def test_what_the_documentation_shows_runs(
    application: Callable[[], tuple[list[str], dict[str, str]]], language: str, tenant: Tenant, base_url: str
) -> None:
    command, environment = application()
    (program,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    program = program.replace("http://localhost:8080", base_url).replace("smollm2-135m-instruct", MODEL)
    done = subprocess.run(
        [command[0], *(["--input-type=module"] if language == "js" else []), "-"],
        env={"PATH": os.environ["PATH"], "KEY": tenant.key, **environment},
        input=program,
        cwd=HERE / "node",
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert len(tenant.events()) == 1
