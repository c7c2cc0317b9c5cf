"""Other nodes of this project: real servers as processes of their own, shared by the tests of a run."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import MODEL
from tests.startup.conftest import Served, free_port, start_server


@dataclass
class Node:
    """One node, its home kept over restarts."""

    home: Path
    model: Path
    port: str = field(default_factory=lambda: str(free_port()))
    grpc_port: str = field(default_factory=lambda: str(free_port()))
    served: Served | None = None

    def start(self) -> None:
        self.served = start_server(
            self.home,
            self.model,
            LAB_PORT=self.port,
            LAB_GRPC_PORT=self.grpc_port,
            LAB_SERVED_MODEL_NAME=MODEL,
            LAB_MODEL_ALIASES="qwen3-4b",
            LAB_OPEN_LOOPBACK="0",
            LAB_RUN_WORKERS="0",
        )

    def up(self) -> "Node":
        if self.served is None:
            self.start()
        assert self.served is not None
        self.served.wait_until_up()
        return self

    def kill(self) -> None:
        """As a power cut would; its database stays, as a database does."""
        assert self.served is not None
        self.served.stop(signal.SIGKILL)
        self.served = None

    def stop(self) -> None:
        if self.served is not None:
            self.served.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def made(self) -> dict[str, str]:
        return json.loads((self.home / "bootstrap.json").read_text())

    def call(self, method: str, path: str, **options: Any) -> Any:
        """As its owner."""
        headers = {"Authorization": f"Bearer {self.made['cli_token']}"}
        answer = httpx.request(method, f"{self.url}{path}", headers=headers, timeout=60, **options)
        return answer.raise_for_status().json() if answer.content else None

    def events(self, request_id: str) -> list[dict[str, Any]]:
        events = self.call("GET", "/api/v1/usage/events", params={"limit": 100})["events"]
        return [event for event in events if event["request_id"] == request_id]


@pytest.fixture(scope="session")
def other_node(smollm_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node beside the one of `tests.serving`, with keys: one process in all its roles, since a start takes long."""
    node = Node(tmp_path_factory.mktemp("other") / "home", smollm_path)
    node.up()
    yield node
    node.stop()


@pytest.fixture
def peer(other_node: Node) -> Node:
    """The other node as a compute peer."""
    return other_node.up()


@pytest.fixture
def provider(other_node: Node) -> Node:
    """The other node in the place of a cloud provider: all that is known of it is a base URL and a key."""
    return other_node.up()


def until(condition: Callable[[], bool], within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.05)
