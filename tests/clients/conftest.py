"""A real server without the engine, and the public command line run against it as a person runs it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from workspace.models import ApiKey, CliToken, Membership, Role, User, Workspace

PASSWORD = "a long password"
STIMULIR = Path(sys.executable).with_name("stimulir")
TIMEOUT_S = 60


@dataclass
class CommandLine:
    """`stimulir` in a home of its own."""

    home: Path
    api_base: str
    environment: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        inherited = {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "300", "NO_COLOR": "1"}
        process = subprocess.Popen(
            [str(STIMULIR), *arguments],
            env={**inherited, "STIMULIR_API_BASE": self.api_base, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> str:
        """The output of a command that succeeds."""
        return finish(self.start(*arguments), 0)

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))

    def fail(self, *arguments: str) -> str:
        """The output of a command that fails in one clear panel, not a traceback."""
        output = finish(self.start(*arguments), 1)
        assert "Traceback" not in output
        return output

    @property
    def credentials(self) -> dict[str, Any]:
        path = self.home / ".stimulir" / "credentials.json"
        return json.loads(path.read_text()) if path.exists() else {}


def finish(process: subprocess.Popen[str], exit_code: int) -> str:
    output, _ = process.communicate(timeout=TIMEOUT_S)
    assert process.returncode == exit_code, output
    return output


@pytest.fixture(scope="session")
def base_url() -> Iterator[str]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config("workspace.asgi:application", lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


@pytest.fixture
def acme(transactional_db: None) -> Workspace:
    return Workspace.objects.create(name="Acme", industry="retail")


@pytest.fixture
def owner(acme: Workspace) -> User:
    user = User.objects.create_user("ann@example.com", PASSWORD)
    Membership.objects.create(workspace=acme, user=user, role=Role.OWNER)
    return user


@pytest.fixture
def command_line(base_url: str, tmp_path: Path) -> Iterator[Callable[..., CommandLine]]:
    """Makes command lines, each as on a machine of its own. What a failed test leaves running is ended."""
    made: list[CommandLine] = []

    def make(name: str, **environment: str) -> CommandLine:
        home = tmp_path / name
        home.mkdir()
        made.append(CommandLine(home, base_url, environment))
        return made[-1]

    yield make
    for process in [process for cli in made for process in cli.processes if process.poll() is None]:
        process.kill()
        process.communicate()


@pytest.fixture
def cli(command_line: Callable[..., CommandLine], acme: Workspace, owner: User) -> CommandLine:
    """Logged in as the owner with a pasted token."""
    cli = command_line("owner")
    cli.run("login", "--token", CliToken(user=owner, workspace=acme, name="laptop").issue())
    return cli


@pytest.fixture
def keyed(command_line: Callable[..., CommandLine], acme: Workspace, owner: User) -> CommandLine:
    """Holding an API key and no login, as an agent does."""
    secret = ApiKey(workspace=acme, name="agent", created_by=owner).issue()
    return command_line("agent", STIMULIR_API_KEY=secret)


@dataclass
class Browser:
    """A person at the pages: signs in, reads a form, fills it in and submits it."""

    http: httpx.Client

    def submit(self, path: str, **fields: str) -> httpx.Response:
        page = self.http.get(path).raise_for_status()
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)"', page.text)
        return self.http.post(path, data={**dict(hidden), **fields})


@pytest.fixture
def browser(base_url: str, owner: User) -> Iterator[Browser]:
    """Signed in as the owner."""
    with httpx.Client(base_url=base_url, headers={"Referer": base_url}, timeout=TIMEOUT_S) as http:
        browser = Browser(http)
        signed_in = browser.submit("/sign-in", username=owner.email, password=PASSWORD, next="/cli")
        assert signed_in.headers["location"] == "/cli"
        yield browser
