"""What a request is admitted by: one statement for many requests, each of which sees what was true when it came."""

import asyncio
from collections.abc import Callable

import pytest
from asgiref.sync import async_to_sync
from django.db import connection

from inference.facts import Facts, Question
from inference.facts_reader import APPLICATION_NAME, FactsReader
from tests.routing.conftest import bring_key
from tests.serving import Tenant
from workspace.models import AdapterState, ApiKey

NewTenant = Callable[[str], Tenant]


def of_key(secret: str, *adapters: str) -> Question:
    return Question(secret, None, frozenset(adapters))


def together(*questions: Question) -> list[Facts | None]:
    """The answers to questions that are asked at once."""

    async def ask() -> list[Facts | None]:
        reader = FactsReader()
        try:
            return await asyncio.gather(*(reader.read(question) for question in questions))
        finally:
            reader.disconnect()

    return async_to_sync(ask)()


def test_each_gets_its_own_answer(new_tenant: NewTenant, random_adapters: list) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    bring_key(ours, "https://api.example.com/v1")
    for tenant in (ours, theirs):
        tenant.register("mine", random_adapters[0]).raise_for_status()
    ours.load("mine").raise_for_status()
    in_theirs = Question(None, theirs.workspace.pk, frozenset({"mine", "other"}))
    a, b, c, unknown = together(of_key(ours.key, "mine"), of_key(theirs.key), in_theirs, of_key("hyb_" + "x" * 43))
    assert unknown is None
    assert a
    assert b
    assert c
    assert (a.workspace, a.api_key and a.api_key.name) == (ours.workspace, "tests")
    assert [credential.secret for credential in a.credentials] == ["sk-upstream-key-0042"]
    assert (b.workspace, b.credentials, c.workspace, c.api_key) == (theirs.workspace, [], theirs.workspace, None)
    assert (a.adapters["mine"].loaded_on, c.adapters["mine"].loaded_on) == ({"local"}, set())
    assert list(c.adapters) == ["mine"]
    assert AdapterState.LOADED in {placement.state for placement in a.adapters["mine"].adapter.placements.all()}


def test_a_limit_of_either_kind_is_seen(new_tenant: NewTenant) -> None:
    from billing.models import WorkspaceLimit

    free, budget = new_tenant("free"), new_tenant("budget")
    WorkspaceLimit.objects.create(workspace=budget.workspace, monthly_budget_pence=100)
    capped = ApiKey(workspace=free.workspace, name="capped", credit_limit_pence=5).issue()
    answers = together(of_key(free.key), of_key(budget.key), of_key(capped))
    assert [facts.is_limited for facts in answers if facts] == [False, True, True]


def test_a_key_revoked_under_load_serves_nothing_that_comes_after(tenant: Tenant) -> None:
    """Each question is asked after the revocation, while a statement that began before it may still run."""

    async def ask() -> tuple[Facts | None, Facts | None]:
        reader = FactsReader()
        before = asyncio.ensure_future(reader.read(of_key(tenant.key)))
        while reader.connection is None:
            await asyncio.sleep(0)
        await asyncio.to_thread(revoke)
        answers = await before, await reader.read(of_key(tenant.key))
        reader.disconnect()
        return answers

    def revoke() -> None:
        try:
            ApiKey.objects.get(workspace=tenant.workspace).revoke()
        finally:
            connection.close()

    _, after = asyncio.run(ask())
    assert after
    assert after.api_key
    assert after.api_key.revoked_at


@pytest.mark.parametrize("times", [1, 2])
def test_a_connection_that_postgres_ends_is_opened_again(tenant: Tenant, times: int) -> None:
    def end() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name = %s",
                    [APPLICATION_NAME],
                )
        finally:
            connection.close()

    async def ask() -> Facts | None:
        reader = FactsReader()
        await reader.read(of_key(tenant.key))
        for _ in range(times):
            await asyncio.to_thread(end)
            found = await reader.read(of_key(tenant.key))
        reader.disconnect()
        return found

    facts = asyncio.run(ask())
    assert facts
    assert facts.workspace == tenant.workspace
