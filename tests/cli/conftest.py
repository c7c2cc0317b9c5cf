"""`lab`, run as a person runs it: a process of its own, with a home of its own, against the real server."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Tenant
from workspace.home import PROJECT_ROOT

LAB = (sys.executable, "-c", "from workspace.cli.main import main; main()")


@dataclass
class Lab:
    home: Path
    server: str
    key: str | None

    def start(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LAB_HOME": str(self.home / "var"),
            "PYTHONPATH": str(PROJECT_ROOT),
            "COLUMNS": "200",
            "LAB_SERVER": self.server,
            **({"LAB_API_KEY": self.key} if self.key else {}),
        }
        return subprocess.run(
            [*LAB, *arguments],
            env=environment,
            input=typed,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.home,
            check=False,
        )

    def run(self, *arguments: str, typed: str = "") -> str:
        """What a command prints that succeeds."""
        done = self.start(*arguments, typed=typed)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def fail(self, exit_code: int, *arguments: str, typed: str = "") -> str:
        """The one line of a command that fails."""
        done = self.start(*arguments, typed=typed)
        assert done.returncode == exit_code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr


@pytest.fixture
def lab(tenant: Tenant, base_url: str, tmp_path: Path) -> Lab:
    return Lab(tmp_path, base_url, tenant.key)
