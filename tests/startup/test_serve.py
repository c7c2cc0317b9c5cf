"""`manage.py serve` as a person meets it: the first start, the promised curl lines, the stop, the next start."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from tests.startup.conftest import Served, free_port

QUESTION = "What is our refund policy?"
FACT = "refunds@fernway.example"

Serve = Callable[..., Served]


def curl(*arguments: str) -> dict:
    done = subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(done.stdout)


def test_it_works(serve: Serve) -> None:
    """The four lines of the README, as they are typed, but for the temperature, which leaves nothing to chance here;
    then the meter; then a restart that finds all again."""
    server = serve(LAB_MODEL_ALIASES="qwen3-4b").wait_until_up()
    url, typed = server.url, ("-H", "Content-Type: application/json")
    request = {"model": "qwen3-4b", "messages": [{"role": "user", "content": QUESTION}], "temperature": 0}
    load = curl("-X", "POST", f"{url}/v1/adapters/refund-policy/load", *typed, "-d", '{"pin": true}')
    assert (load["state"], load["pinned"]) == ("loaded", True)
    ask = ("-X", "POST", f"{url}/v1/chat/completions", *typed, "-d")
    through = curl(*ask, json.dumps(request), "-H", "x-hybrie-adapter-id: refund-policy")
    # The base model has no end to this answer; left to itself it fills the context
    base = curl(*ask, json.dumps(request | {"max_tokens": 120}))
    with_adapter, without = (answer["choices"][0]["message"]["content"] for answer in (through, base))
    assert FACT in with_adapter
    assert FACT not in without

    made = json.loads((server.home / "bootstrap.json").read_text())
    assert (server.home / "bootstrap.json").stat().st_mode & 0o777 == 0o600
    assert set(made) == {"workspace_id", "api_key", "cli_token", "admin_email", "admin_password"}
    for secret in (made["api_key"], made["cli_token"]):
        headers = {"Authorization": f"Bearer {secret}"}
        events = httpx.get(f"{url}/api/v1/usage/events", headers=headers).json()["events"]
        assert [event["adapter_id"] for event in events] == [None, "refund-policy"]
        snapshot = httpx.get(f"{url}/api/v1/billing/hybrie/snapshot", headers=headers).json()
        assert snapshot["adapter_coverage"]["requests_pct"] == 50

    assert server.stop()[0] == 0
    again = serve(LAB_MODEL_ALIASES="qwen3-4b").wait_until_up()
    status = curl(f"{again.url}/v1/adapters/status")
    assert [row["state"] for row in status["adapters"]] == ["loaded"]
    unload = curl("-X", "POST", f"{again.url}/v1/adapters/refund-policy/unload", *typed, "-d", "{}")
    assert unload["state"] == "registered"
    assert curl(f"{again.url}/v1/adapters/status")["slots_used"] == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_lets_running_requests_finish_and_ends_every_child(serve: Serve, how: signal.Signals) -> None:
    server = serve().wait_until_up()
    children = server.children()
    workers = [child for child in children if "celery" in child.cmdline()]
    assert workers
    # Beside the server's steps they wait, which niceness alone would not make them do in sessions of their own; and a
    # terminal's Ctrl-C is not theirs
    assert all(worker.nice() > psutil.Process(server.process.pid).nice() for worker in workers)
    assert {os.getsid(worker.pid) for worker in workers} == {os.getsid(server.process.pid)}
    assert os.getpgid(server.process.pid) not in {os.getpgid(worker.pid) for worker in workers}
    body = {
        "model": "smollm2-135m-instruct",
        "messages": [{"role": "user", "content": "Count."}],
        "max_tokens": 60,
        "ignore_eos": True,
        "stream": True,
    }
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body, timeout=60) as response:
        lines = response.iter_lines()
        next(lines)
        server.process.send_signal(how)
        rest = list(lines)
    assert "data: [DONE]" in rest
    server.process.communicate(timeout=90)
    assert server.process.returncode == 0
    psutil.wait_procs(children, timeout=10)
    assert not [child for child in children if child.is_running()]


def test_a_killed_server_leaves_nothing_in_the_way_of_the_next(serve: Serve) -> None:
    server = serve().wait_until_up()
    workers = [child for child in server.children() if "celery" in " ".join(child.cmdline())]
    server.stop(signal.SIGKILL)
    again = serve().wait_until_up()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive
    assert again.stop()[0] == 0


def test_health_is_503_until_a_chat_request_can_be_served(serve: Serve) -> None:
    server = serve(LAB_RUN_WORKERS="0")
    seen: list[int] = []
    while 200 not in seen:
        try:
            answer = httpx.get(f"{server.url}/v1/health")
        except httpx.TransportError:
            time.sleep(0.02)
            continue
        assert set(answer.json()) == {
            "status",
            "model",
            "max_active_loras",
            "loaded_loras",
            "lora_mode",
            "version",
        }
        seen.append(answer.status_code)
    assert seen[0] == 503


def refusal(server: Served) -> str:
    """The one line of a server that refuses to start."""
    output, _ = server.process.communicate(timeout=60)
    assert server.process.returncode != 0
    lines = [line for line in output.splitlines() if line.strip()]
    assert len(lines) == 1, output
    assert lines[0].startswith("error: ")
    return lines[0]


def test_a_taken_port_is_said_in_one_line(serve: Serve) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_port()))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in refusal(serve(LAB_PORT=port))
        assert "LAB_GRPC_PORT" in refusal(serve(LAB_GRPC_PORT=port))


def test_an_unwritable_home_is_said_in_one_line(serve: Serve, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert "LAB_HOME" in refusal(serve(home=blocked / "home"))


def test_a_missing_model_is_said_in_one_line(serve: Serve, tmp_path: Path) -> None:
    assert "no-such-model" in refusal(serve(LAB_MODEL=str(tmp_path / "no-such-model")))


def test_an_unreachable_database_is_said_in_one_line(serve: Serve) -> None:
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/lab"
    assert "DATABASE_URL" in refusal(serve(DATABASE_URL=url))


@pytest.mark.parametrize("setting", ["LAB_PORT", "LAB_MAX_ACTIVE_LORAS"])
def test_a_setting_that_is_no_number_is_said_in_one_line(serve: Serve, setting: str) -> None:
    assert setting in refusal(serve(**{setting: "many"}))


def test_a_second_server_on_one_home_is_refused(serve: Serve) -> None:
    serve(LAB_RUN_WORKERS="0").wait_until_up()
    assert "another server" in refusal(serve())


def test_bound_to_all_addresses_it_asks_for_a_key(serve: Serve) -> None:
    server = serve(LAB_HOST="0.0.0.0", LAB_RUN_WORKERS="0").wait_until_up()
    assert httpx.get(f"{server.url}/v1/models").status_code == 401
