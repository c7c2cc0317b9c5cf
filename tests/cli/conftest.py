"""`lab`, run as a person runs it: a process of its own, with a home of its own, against the real server."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.scripts import Done, start
from tests.serving import Tenant


@dataclass
class Lab:
    home: Path
    server: str
    key: str | None

    def start(self, *arguments: str, typed: str = "") -> Done:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LAB_HOME": str(self.home / "var"),
            "COLUMNS": "200",
            "LAB_SERVER": self.server,
            **({"LAB_API_KEY": self.key} if self.key else {}),
        }
        return start("lab", *arguments, environment=environment, folder=self.home, typed=typed).wait()

    def run(self, *arguments: str, typed: str = "") -> str:
        """What a command prints that succeeds."""
        done = self.start(*arguments, typed=typed)
        assert done.exit_code == 0, done.text
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def fail(self, exit_code: int, *arguments: str, typed: str = "") -> str:
        """The one line of a command that fails."""
        done = self.start(*arguments, typed=typed)
        assert done.exit_code == exit_code, done.text
        assert "Traceback" not in done.errors
        assert len(done.errors.strip().splitlines()) == 1, done.errors
        return done.errors


@pytest.fixture
def lab(tenant: Tenant, base_url: str, tmp_path: Path) -> Lab:
    return Lab(tmp_path, base_url, tenant.key)
