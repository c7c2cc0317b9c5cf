import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.test import Client

from workspace.models import ApiKey, CliToken, Membership, Role, User, Workspace

Act = Callable[..., Client]


def person(email: str, *memberships: tuple[Workspace, Role]) -> User:
    user = User.objects.create_user(email)
    for workspace, role in memberships:
        Membership.objects.create(workspace=workspace, user=user, role=role)
    return user


def with_token(user: User, workspace: Workspace) -> Client:
    """A client that carries a CLI token, as the command line does."""
    return bearing(CliToken(user=user, workspace=workspace, name="laptop").issue())


def signed_in(user: User) -> Client:
    """A browser with the user's session."""
    client = Client()
    client.force_login(user)
    return client


def bearing(secret: str) -> Client:
    return Client(headers={"authorization": f"Bearer {secret}"})


def error(answer) -> tuple[int, str, str | None]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["param"]


@pytest.fixture
def acme(db: None) -> Workspace:
    return Workspace.objects.create(name="Acme", industry="retail")


@pytest.fixture
def other(db: None) -> Workspace:
    return Workspace.objects.create(name="Other")


@pytest.fixture
def act(acme: Workspace) -> Act:
    """A client of someone with a role in the workspace."""

    def act(role: Role) -> Client:
        return with_token(person(f"{role.value}@example.com", (acme, role)), acme)

    return act


@pytest.fixture
def admin(act: Act) -> Client:
    return act(Role.ADMIN)


@pytest.fixture
def stranger(other: Workspace) -> Client:
    """An admin of another workspace."""
    return with_token(person("stranger@example.com", (other, Role.ADMIN)), other)


@pytest.fixture
def key_client(acme: Workspace) -> Client:
    return bearing(ApiKey(workspace=acme, name="application").issue())


class Provider(ThreadingHTTPServer):
    """A small cloud provider: it lists its models to whoever has the right key."""

    key = "sk-right-key-0042"
    redirect_to: str | None = None
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answers(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        presented = {self.headers.get("x-api-key"), self.headers.get("api-key")}
        presented.add(self.headers.get("authorization", "").removeprefix("Bearer "))
        status = self.server.status or (200 if self.server.key in presented else 401)
        if self.server.redirect_to:
            status = 302
        body = json.dumps({"object": "list", "data": [{"id": "large"}]}).encode()
        self.send_response(status)
        if self.server.redirect_to:
            self.send_header("Location", self.server.redirect_to)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test run's output quiet."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
