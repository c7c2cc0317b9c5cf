from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from django.test import Client

from billing.ledger import record_event
from billing.models import UsageEvent
from billing.usage import Usage
from workspace.models import ApiKey, Workspace

Record = Callable[..., UsageEvent]


@pytest.fixture
def workspace(db: None) -> Workspace:
    return Workspace.objects.create(name="Acme")


@pytest.fixture
def other_workspace(db: None) -> Workspace:
    return Workspace.objects.create(name="Other")


@pytest.fixture
def record(workspace: Workspace) -> Record:
    """Record one event of the workspace; keywords say what is particular about it."""

    def record(**particulars: object) -> UsageEvent:
        usage = {
            "workspace_id": workspace.pk,
            "provider": "local",
            "model": "smollm2",
            "mode": "byoc",
            "status": "ok",
            "input_tokens": 10,
            "output_tokens": 5,
            **particulars,
        }
        return UsageEvent.objects.get(id=record_event(Usage(**usage)))

    return record


@pytest.fixture
def api(workspace: Workspace) -> Client:
    """A client with a key of the workspace."""
    return client_of(workspace)


def client_of(workspace: Workspace) -> Client:
    secret = ApiKey(workspace=workspace, name="test").issue()
    return Client(headers={"authorization": f"Bearer {secret}"})


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)
