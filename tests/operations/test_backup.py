"""`manage.py backup` of a running server, and `manage.py restore` into a new LAB_HOME."""

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import psycopg

from tests.startup.conftest import start_server
from workspace.embedded import start_postgres
from workspace.home import PROJECT_ROOT

CHAT = {"model": "smollm2-135m-instruct", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
COMPARED = ("billing_usageevent", "billing_hourlyusage", "workspace_adapter", "workspace_apikey", "workspace_user")


def manage(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name not in {"DATABASE_URL", "LAB_EMBEDDED"}}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT_ROOT,
        env={**inherited, "LAB_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


def rows(home: Path) -> dict[str, list[tuple]]:
    with psycopg.connect(start_postgres(home / "postgres")) as connection:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in COMPARED}


def test_a_restored_installation_has_the_same_ledger_keys_and_adapters(smollm_path: Path, tmp_path: Path) -> None:
    old, new, file = tmp_path / "old", tmp_path / "new", tmp_path / "lab.tar"
    server = start_server(old, smollm_path).wait_until_up()
    httpx.post(f"{server.url}/v1/adapters/refund-policy/load", json={"pin": True}).raise_for_status()
    for number in range(3):
        httpx.post(f"{server.url}/v1/chat/completions", json=CHAT | {"seed": number}, timeout=60).raise_for_status()
    assert manage(old, "backup", str(file)).returncode == 0
    assert file.stat().st_mode & 0o777 == 0o600
    before = rows(old)
    assert server.stop()[0] == 0

    assert manage(new, "restore", str(file)).returncode == 0
    after = rows(new)
    assert len(after["billing_usageevent"]) == 3
    assert after == before
    assert ", 0 differences" in manage(new, "reconcile").stdout
    assert (new / "secret_key").read_text() == (old / "secret_key").read_text()

    again = start_server(new, smollm_path).wait_until_up()
    key = json.loads((new / "bootstrap.json").read_text())["api_key"]
    status = httpx.get(f"{again.url}/v1/adapters/status", headers={"Authorization": f"Bearer {key}"}).json()
    assert [(row["spec"]["id"], row["state"]) for row in status["adapters"]] == [("refund-policy", "loaded")]
    assert again.stop()[0] == 0

    refused = manage(new, "restore", str(file))
    assert (refused.returncode, "not empty" in refused.stderr) == (1, True)
