"""Real servers as processes of their own, each with a LAB_HOME of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from workspace.home import PROJECT_ROOT

UP_WITHIN_S = 120


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Served:
    """A `manage.py serve` process."""

    process: subprocess.Popen[str]
    home: Path
    url: str

    def wait_until_up(self) -> "Served":
        deadline = time.monotonic() + UP_WITHIN_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.process.communicate()[0]}")
            try:
                if httpx.get(f"{self.url}/v1/health").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError("the server is not up")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send the signal; return the exit code and all it printed."""
        self.process.send_signal(how)
        output, _ = self.process.communicate(timeout=90)
        return self.process.returncode, output

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def start_server(home: Path, model: Path, folder: Path = PROJECT_ROOT, **environment: str) -> Served:
    """`manage.py serve` in `folder`, on a free port, with nothing of this process's own settings."""
    port = environment.pop("LAB_PORT", None) or str(free_port())
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("LAB_") and name not in {"DATABASE_URL", "CELERY_BROKER_URL"}
    }
    process = subprocess.Popen(
        [sys.executable, PROJECT_ROOT / "manage.py", "serve"],
        cwd=folder,
        env={
            **inherited,
            "LAB_HOME": str(home),
            "LAB_PORT": port,
            "LAB_GRPC_PORT": str(free_port()),
            "LAB_MODEL": str(model),
            "LAB_SERVED_MODEL_NAME": "smollm2-135m-instruct",
            **environment,
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Served(process, home, f"http://127.0.0.1:{port}")


@pytest.fixture
def serve(smollm_path: Path, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers on the prepared model; kills what a test leaves."""
    started: list[Served] = []

    def start(home: Path | None = None, **environment: str) -> Served:
        started.append(start_server(home or tmp_path / "home", smollm_path, **environment))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.stop()
