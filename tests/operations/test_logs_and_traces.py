"""What a server tells machines: JSON lines with the request's id, and spans to a collector over OTLP."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.operations.collector import Collector
from tests.startup.conftest import Served, start_server

CHAT = {"model": "smollm2-135m-instruct", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def lines(smollm_path: Path, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The log of a server, without workers, that answered a few requests and was stopped."""
    server = start_server(
        tmp_path_factory.mktemp("observed"),
        smollm_path,
        LAB_LOG_FORMAT="json",
        LAB_RUN_WORKERS="0",
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint,
    ).wait_until_up()
    assert not any("celery" in child.cmdline() for child in server.children())
    ask(server, "plain-1", CHAT)
    ask(server, "streamed-1", {**CHAT, "stream": True})
    httpx.get(f"{server.url}/v1/forged%0A%7B%7D", headers={"x-request-id": "forger-1"})
    refused = ask(server, "refused-1", {**CHAT, "model": "nobody"})
    assert (refused.status_code, refused.headers["x-request-id"]) == (404, "refused-1")
    code, output = server.stop()
    assert code == 0
    return [json.loads(line) for line in output.splitlines()]


def ask(server: Served, request_id: str, body: dict[str, Any]) -> httpx.Response:
    headers = {"x-request-id": request_id, "traceparent": f"00-{CALLER}-00f067aa0ba902b7-01"}
    return httpx.post(f"{server.url}/v1/chat/completions", json=body, headers=headers, timeout=60)


def test_every_line_is_json_with_its_time_level_and_logger(lines: list[dict[str, Any]]) -> None:
    assert all({"time", "level", "logger", "message", "request_id"} <= set(line) for line in lines)


def test_each_request_has_its_line_with_id_status_and_duration(lines: list[dict[str, Any]]) -> None:
    access = {line["request_id"]: line for line in lines if line["logger"] == "lab.access"}
    assert access["plain-1"]["path"] == "/v1/chat/completions"
    assert [access[name]["status"] for name in ("plain-1", "streamed-1", "refused-1")] == [200, 200, 404]
    assert all(line["duration_ms"] > 0 for line in access.values())


def test_a_path_cannot_forge_a_line(lines: list[dict[str, Any]]) -> None:
    asked = [line for line in lines if line["request_id"] == "forger-1" and line["logger"] == "lab.access"]
    assert [line["path"] for line in asked] == ["/v1/forged%0A%7B%7D"]


def test_other_lines_of_a_request_carry_its_id(lines: list[dict[str, Any]]) -> None:
    others = {line["request_id"] for line in lines if line["logger"] == "django.request"}
    assert others <= {line["request_id"] for line in lines if line["logger"] == "lab.access"}


def test_a_request_is_traced_from_the_door_to_the_commit(lines: list[dict[str, Any]], collector: Collector) -> None:
    assert collector.services == {"lab-workspace"}
    requests = collector.named("POST /v1/chat/completions")
    assert len(requests) == 3
    assert {span.trace_id.hex() for span in requests} == {CALLER}
    for name, times in (("route", 3), ("admission", 2), ("backend", 2), ("commit", 2)):
        parts = collector.named(name)
        assert len(parts) == times, name
        assert {part.parent_span_id for part in parts} <= {span.span_id for span in requests}
    served = {value.key: value.value for value in collector.named("backend")[0].attributes}
    assert served["backend"].string_value == "local"
