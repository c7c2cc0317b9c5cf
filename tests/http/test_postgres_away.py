"""Postgres goes away: who needs nothing from it is served, and billed when it is back."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from billing.meter import meter
from billing.models import UsageEvent, WorkspaceLimit
from tests.http.test_chat_refusals import error
from tests.outage import Outage
from tests.routing.nodes import until
from tests.serving import Tenant
from workspace.models import Adapter, ApiKey, CliToken


@pytest.fixture
def outage(tenant: Tenant) -> Iterator[Outage]:
    outage = Outage()
    yield outage
    back(outage, tenant)
    outage.server.close()


def back(outage: Outage, tenant: Tenant) -> None:
    """Until the server has noticed. Its pool is this process's too, whose connections are dead."""
    outage.end()
    connection.close()
    connection.close_pool()
    until(lambda: meter.spool.size == 0)
    until(lambda: tenant.ask("Hello", model="none").status_code != 503)


def test_it_works(tenant: Tenant, outage: Outage) -> None:
    assert tenant.ask("Hello", max_tokens=2).status_code == 200
    outage.begin()
    answers = [tenant.ask("Hello", max_tokens=tokens) for tokens in (3, 4)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert meter.spool.size > 0
    back(outage, tenant)
    billed = UsageEvent.objects.order_by("ts").values_list("output_tokens", flat=True)
    assert list(billed) == [2, 3, 4]


def test_a_key_that_was_not_seen_before_has_to_wait(tenant: Tenant, outage: Outage) -> None:
    outage.begin()
    answer = tenant.ask("Hello", max_tokens=2)
    assert error(answer)[:2] == (503, "limits_unavailable")
    assert answer.headers["Retry-After"] == "2"


def test_a_limit_is_not_guessed(tenant: Tenant, outage: Outage) -> None:
    WorkspaceLimit.objects.create(workspace=tenant.workspace, requests_per_minute=600)
    assert tenant.ask("Hello", max_tokens=2).status_code == 200
    outage.begin()
    assert error(tenant.ask("Hello", max_tokens=2))[:2] == (503, "limits_unavailable")


def test_a_time_to_live_is_the_databases_to_judge(tenant: Tenant, outage: Outage, random_adapters: list) -> None:
    assert tenant.register("brief", random_adapters[0]).status_code == 201
    assert tenant.load("brief").status_code == 200
    Adapter.objects.update(expires_at=timezone.now() + timedelta(hours=1))
    assert tenant.ask("Hello", "brief", max_tokens=2).status_code == 200
    outage.begin()
    assert error(tenant.ask("Hello", "brief", max_tokens=2))[:2] == (503, "limits_unavailable")


def test_a_revoked_key_is_not_remembered(tenant: Tenant, outage: Outage) -> None:
    assert tenant.ask("Hello", max_tokens=2).status_code == 200
    ApiKey.objects.get(workspace=tenant.workspace).revoke()
    outage.begin()
    assert error(tenant.ask("Hello", max_tokens=2))[:2] == (503, "limits_unavailable")


def test_a_login_has_to_wait(tenant: Tenant, outage: Outage) -> None:
    token = CliToken(user=tenant.owner, workspace=tenant.workspace).issue()
    tenant.http.headers["Authorization"] = f"Bearer {token}"
    assert tenant.ask("Hello", max_tokens=2).status_code == 200
    outage.begin()
    for answer in (tenant.ask("Hello", max_tokens=2), tenant.http.get("/v1/adapters")):
        assert error(answer)[:2] == (503, "database_unavailable")
    tenant.http.cookies.set("sessionid", "a" * 32)
    page = tenant.http.get("/")
    assert page.status_code == 503
    assert "The database is away" in page.text
    outage.end()
    until(lambda: tenant.http.get("/v1/adapters").status_code == 200, within_s=15)


def test_the_login_behind_a_key_is_not_taken_on_trust(tenant: Tenant, outage: Outage) -> None:
    login = CliToken(user=tenant.owner, workspace=tenant.workspace)
    login.issue()
    secret = ApiKey(workspace=tenant.workspace, name="session", login=login).issue()
    tenant.http.headers["Authorization"] = f"Bearer {secret}"
    assert tenant.ask("Hello", max_tokens=2).status_code == 200
    outage.begin()
    assert error(tenant.ask("Hello", max_tokens=2))[:2] == (503, "limits_unavailable")
