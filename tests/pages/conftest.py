from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from billing.ledger import record_event
from billing.models import UsageEvent
from billing.usage import Usage
from tests.pages.chromium import PASSWORD as PASSWORD
from tests.pages.chromium import browser as browser
from tests.pages.chromium import open_page as open_page
from tests.routing.upstream import Upstream
from workspace.models import Adapter, AdapterPlacement, Membership, Role, User, Workspace

SignIn = Callable[..., Client]


@pytest.fixture
def acme(db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def other(db: None) -> Workspace:
    return Workspace.objects.create(name="Other")


def member(workspace: Workspace, role: Role, email: str = "", password: str | None = None) -> User:
    user = User.objects.create_user(email or f"{role.value}@{workspace.name.lower()}.example", password)
    Membership.objects.create(workspace=workspace, user=user, role=role)
    return user


@pytest.fixture
def browse(acme: Workspace) -> SignIn:
    """A browser of a member with this role, in Acme unless another workspace is given."""

    def browse(role: Role, workspace: Workspace = acme) -> Client:
        client = Client()
        client.force_login(member(workspace, role))
        return client

    return browse


@pytest.fixture
def adapter(acme: Workspace) -> Adapter:
    made = Adapter.objects.create(
        workspace=acme,
        adapter_id="tone",
        base_model="SmolLM2",
        rank=8,
        alpha=16,
        target_modules=["q_proj", "v_proj"],
        source="upload",
        checksum_sha256="0" * 64,
        content_hash="0" * 64,
        size_bytes=3 << 20,
    )
    AdapterPlacement.objects.create(adapter=made, backend="local")
    return made


@pytest.fixture
def event(acme: Workspace) -> UsageEvent:
    usage = Usage(
        workspace_id=acme.pk,
        provider="local",
        model="smollm2",
        mode="byoc",
        status="ok",
        input_tokens=10,
        output_tokens=5,
        adapter_id="tone",
    )
    return UsageEvent.objects.get(id=record_event(usage))


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """A server in the OpenAI shape: a vLLM server or a provider."""
    server = Upstream()
    server.start()
    yield server
    server.stop()
