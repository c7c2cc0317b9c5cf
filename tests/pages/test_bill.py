import pytest
from django.test import Client

from billing.models import RateCard, UsageEvent, WorkspaceLimit
from tests.pages.conftest import SignIn
from workspace.models import AuditEntry, Role, Workspace


@pytest.fixture
def owner(browse: SignIn) -> Client:
    return browse(Role.OWNER)


def test_the_owner_sets_the_budget_in_pounds(owner: Client, acme: Workspace) -> None:
    answer = owner.post("/billing", {"monthly_budget": "12.50", "webhook_url": "https://hooks.example.com/lab"})
    assert answer.status_code == 302
    limit = WorkspaceLimit.objects.get(workspace=acme)
    assert (limit.monthly_budget_pence, limit.webhook_url) == (1250, "https://hooks.example.com/lab")
    assert AuditEntry.objects.get().action == "workspace_limit.update"
    assert 'value="12.50"' in owner.get("/billing").content.decode()
    assert "£12.50" in owner.get("/").content.decode()
    owner.post("/billing", {"monthly_budget": "", "webhook_url": ""})
    limit.refresh_from_db()
    assert limit.monthly_budget_pence is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("monthly_budget", "-1"), ("monthly_budget", "0.001"), ("monthly_budget", "much"), ("webhook_url", "ftp://x.y")],
)
def test_what_is_wrong_is_said_beside_its_field(owner: Client, field: str, value: str) -> None:
    answer = owner.post("/billing", {field: value})
    assert answer.status_code == 400
    assert f'id="{field}-problem"' in answer.content.decode()
    assert not WorkspaceLimit.objects.exists()


def test_only_cards_that_may_apply_are_shown(owner: Client, acme: Workspace, other: Workspace) -> None:
    for workspace, model in ((None, "everyone's"), (acme, "acme's"), (other, "other's")):
        RateCard.objects.create(workspace=workspace, model=model, input_rate=1, output_rate=2)
    shown = {each["card"].model for each in owner.get("/billing").context["cards"]}
    assert shown == {"everyone's", "acme's"}


def test_the_month_is_listed_by_model_and_adapter(owner: Client, event: UsageEvent) -> None:
    page = owner.get("/billing").context
    assert [(line["mode"], line["model"]) for line in page["lines"]] == [("own compute", "smollm2")]
    assert [line["adapter"] for line in page["adapters"]] == ["tone"]
    assert page["totals"].unmetered == 1
