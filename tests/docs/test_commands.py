"""Every shell command of the README and of docs/ runs, as it is written, against a real server."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.blocks import Block, blocks_of
from tests.startup.conftest import Served, free_port, start_server
from workspace.home import PROJECT_ROOT

DOCUMENTS = [PROJECT_ROOT / "README.md", *sorted((PROJECT_ROOT / "docs").glob("*.md"))]
BLOCKS = {document: list(blocks_of(document)) for document in DOCUMENTS}
NOT_RUN_AT_MOST = 12
STRICT = "set -euo pipefail\n"
GRPC_PORT = str(free_port())


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader has it after `git clone`, with adapters of their own beside."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("manage.py", "examples", "docs"):
        (folder / name).symlink_to(PROJECT_ROOT / name)
    adapter = PROJECT_ROOT / "examples/refund_policy/adapter"
    for path in adapter.iterdir():
        shutil.copy(path, folder)
    shutil.copytree(adapter, folder / "var/import/my-adapter")
    (folder / "policy.md").write_text("Refunds are paid within 45 days.")
    (folder / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return folder


@pytest.fixture(scope="module")
def server(smollm_path: Path, checkout: Path) -> Iterator[Served]:
    server = start_server(checkout / "var", smollm_path, folder=checkout, LAB_GRPC_PORT=GRPC_PORT)
    yield server.wait_until_up()
    server.stop()


@pytest.fixture(autouse=True)
def nothing_left(server: Served) -> Iterator[None]:
    """Each document begins as a first start leaves the server."""
    yield
    for record in httpx.get(f"{server.url}/v1/adapters").json()["adapters"]:
        address = f"{server.url}/v1/adapters/{record['spec']['id']}"
        httpx.post(f"{address}/unload").raise_for_status()
        if record["spec"]["id"] != "refund-policy":
            httpx.delete(address).raise_for_status()


@pytest.fixture
def shell(server: Served, checkout: Path, smollm_path: Path) -> dict[str, str]:
    """The environment of a reader's terminal."""
    made = json.loads((server.home / "bootstrap.json").read_text())
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(checkout),
        "CURL_HOME": str(checkout),
        "LAB_HOME": str(checkout / "var"),
        "LAB_MODEL": str(smollm_path),
        "KEY": made["api_key"],
        "TOKEN": made["cli_token"],
        "CLI_TOKEN": made["cli_token"],
        "LAB_SERVER": server.url,
        "LAB_API_KEY": made["cli_token"],
    }


@pytest.mark.parametrize(
    "document", [document for document in DOCUMENTS if BLOCKS[document]], ids=lambda path: path.name
)
def test_every_command_runs(document: Path, server: Served, shell: dict[str, str], checkout: Path) -> None:
    port = server.url.rpartition(":")[2]
    script = STRICT + "\n".join(block.script for block in BLOCKS[document] if block.why_not is None)
    script = script.replace("localhost:8080", f"localhost:{port}").replace("localhost:9090", f"localhost:{GRPC_PORT}")
    done = subprocess.run(
        ["bash", "-x", "-c", script], cwd=checkout, env=shell, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, f"{done.stderr[-2000:]}\n{done.stdout[-2000:]}"


def test_few_commands_are_not_run_and_each_says_why() -> None:
    left_out: list[Block] = [block for blocks in BLOCKS.values() for block in blocks if block.why_not is not None]
    assert len(left_out) <= NOT_RUN_AT_MOST, left_out


def test_every_link_between_documents_leads_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_index_lists_every_document() -> None:
    index = (PROJECT_ROOT / "docs/README.md").read_text()
    for document in DOCUMENTS[1:]:
        assert document.name == "README.md" or f"]({document.name})" in index, document.name
