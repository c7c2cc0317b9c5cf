"""The public command line and its SDK against a real server, as a person uses them."""

import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from billing.models import RateWindow, WorkspaceLimit
from tests.scripts import Running, start
from tests.serving import PASSWORD, Tenant
from workspace.home import PROJECT_ROOT
from workspace.models import ApiKey, CliToken, User, Workspace

QUESTION = "What is our refund policy?"


@dataclass
class CommandLine:
    """`stimulir` in a home of its own."""

    home: Path
    api_base: str
    environment: dict[str, str] = field(default_factory=dict)
    started: list[Running] = field(default_factory=list)

    def start(self, *arguments: str) -> Running:
        inherited = {"PATH": os.environ["PATH"], "HOME": str(self.home), "COLUMNS": "300", "NO_COLOR": "1"}
        environment = {**inherited, "STIMULIR_API_BASE": self.api_base, **self.environment}
        self.started.append(start("stimulir", *arguments, environment=environment, folder=self.home))
        return self.started[-1]

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

    def fail_all(self, *commands: str) -> list[str]:
        """The outputs of commands that fail, run at once."""
        running = [self.start(*command.split()) for command in commands]
        outputs = [finish(each, 1) for each in running]
        assert not [output for output in outputs if "Traceback" in output]
        return outputs

    @property
    def credentials(self) -> dict[str, Any]:
        path = self.home / ".stimulir" / "credentials.json"
        return json.loads(path.read_text()) if path.exists() else {}


def finish(running: Running, exit_code: int) -> str:
    done = running.wait()
    assert done.exit_code == exit_code, done.text
    return done.text


@pytest.fixture
def acme(tenant: Tenant) -> Workspace:
    return tenant.workspace


@pytest.fixture
def owner(tenant: Tenant) -> User:
    return tenant.owner


@pytest.fixture
def refund_policy(tenant: Tenant) -> None:
    """The example adapter, registered."""
    folder = PROJECT_ROOT / "examples/refund_policy/adapter"
    tenant.register("refund-policy", folder, name="Refund policy").raise_for_status()


@pytest.fixture
def loaded_policy(tenant: Tenant, refund_policy: None) -> None:
    tenant.load("refund-policy").raise_for_status()


@pytest.fixture
def throttle(acme: Workspace) -> Callable[[], None]:
    """Uses up what the workspace may ask for now; three seconds later it may ask once more.

    A client that tries again at its own pace would be refused again, and then give up.
    """

    def throttle() -> None:
        WorkspaceLimit.objects.update_or_create(workspace=acme, defaults={"requests_per_minute": 20})
        used_up = {"requests": 0, "tokens": 0, "filled_at": datetime.now(UTC)}
        RateWindow.objects.update_or_create(workspace=acme, defaults=used_up)

    return throttle


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
    for running in [running for cli in made for running in cli.started]:
        running.stop()


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


@pytest.fixture
def revoked(keyed: CommandLine) -> CommandLine:
    """Holding a key that no longer counts."""
    ApiKey.objects.get(name="agent").revoke()
    return keyed


@pytest.fixture
def elsewhere(command_line: Callable[..., CommandLine], acme: Workspace, owner: User) -> CommandLine:
    """The owner's, pointed at a workspace of others."""
    theirs = Workspace.objects.create(name="Theirs")
    token = CliToken(user=owner, workspace=acme, name="laptop").issue()
    return command_line("elsewhere", STIMULIR_ACCESS_TOKEN=token, STIMULIR_WORKSPACE_ID=str(theirs.pk))


@dataclass
class Browser:
    """A person at the pages: signs in, reads a form, fills it in and submits it."""

    http: httpx.Client

    def submit(self, path: str, **fields: str) -> httpx.Response:
        page = self.http.get(path).raise_for_status()
        hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]+)"', page.text)
        return self.http.post(path, data={**dict(hidden), **fields})


@pytest.fixture
def sign_in(base_url: str, owner: User) -> Iterator[Callable[[], Browser]]:
    """Opens browsers, each signed in as the owner."""
    made: list[Browser] = []

    def sign_in() -> Browser:
        made.append(Browser(httpx.Client(base_url=base_url, headers={"Referer": base_url}, timeout=60)))
        signed_in = made[-1].submit("/sign-in", username=owner.email, password=PASSWORD, next="/cli")
        assert signed_in.headers["location"] == "/cli"
        return made[-1]

    yield sign_in
    for browser in made:
        browser.http.close()


@pytest.fixture
def browser(sign_in: Callable[[], Browser]) -> Browser:
    return sign_in()
