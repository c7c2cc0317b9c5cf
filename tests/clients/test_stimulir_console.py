"""The public `stimulir` 0.2.63, unmodified, against the console plane."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from billing.ledger import record_event
from billing.usage import Usage
from tests.clients.conftest import Browser, CommandLine, finish
from tests.console.conftest import Provider, provider
from workspace.models import CliToken, DeviceLogin, Membership, Role, User, Workspace
from workspace.providers import PROVIDERS

__all__ = ["provider"]

NO_ID = "00000000-0000-0000-0000-000000000000"
COMMANDS = (
    "keys list",
    "keys create --name app",
    f"keys revoke {NO_ID} --yes",
    "byok list",
    "byok add --provider openai --label team --secret sk-some-key",
    f"byok verify {NO_ID}",
    f"byok remove {NO_ID} --yes",
    "usage",
    "billing snapshot",
    "billing reconcile",
    "billing export-events --output events.json",
    "compute peers list",
    "compute peers add --name gpu-2 --grpc http://127.0.0.1:9 --no-probe",
    f"compute peers remove {NO_ID} --yes",
)


@pytest.fixture
def openai(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Provider]:
    """The small provider at OpenAI's place: the command line sends no address."""
    monkeypatch.setitem(PROVIDERS, "openai", replace(PROVIDERS["openai"], base_url=provider.base_url))
    return provider


@pytest.fixture
def two_events(acme: Workspace) -> None:
    common = {"workspace_id": acme.pk, "provider": "local", "mode": "byoc", "status": "ok"}
    record_event(Usage(**common, model="smollm2", input_tokens=1200, output_tokens=34))
    record_event(Usage(**common, model="smollm2", input_tokens=5, output_tokens=1, adapter_id="refund-policy"))


def test_login_with_a_token_names_the_workspace(cli: CommandLine, acme: Workspace) -> None:
    who = cli.json("whoami")
    assert (who["email"], who["auth_kind"], who["workspace_id"]) == ("acme@example.com", "cli_token", str(acme.pk))
    assert "acme@example.com" in cli.run("whoami")


def test_login_with_a_wrong_token_is_one_clear_line(command_line: Callable[..., CommandLine], acme: Workspace) -> None:
    cli = command_line("stranger")
    assert "rejected" in cli.fail("login", "--token", "stim_cli_wrong")
    assert cli.credentials == {}


def test_login_in_the_browser(
    command_line: Callable[..., CommandLine], browser: Browser, acme: Workspace, owner: User
) -> None:
    cli = command_line("new-machine")
    process = cli.start("login", "--headless")
    browser.submit(f"/cli?user_code={code_awaited()}", decision="approve", workspace=str(acme.pk))
    output = finish(process, 0)
    assert "Logged in as acme@example.com" in output
    assert f"Active workspace: acme ({acme.pk})" in output
    assert cli.json("whoami")["email"] == owner.email
    assert (cli.home / ".stimulir" / "credentials.json").stat().st_mode & 0o777 == 0o600


def test_login_denied_in_the_browser(command_line: Callable[..., CommandLine], browser: Browser) -> None:
    cli = command_line("new-machine")
    process = cli.start("login", "--headless")
    browser.submit(f"/cli?user_code={code_awaited()}", decision="deny")
    assert "denied" in finish(process, 1)
    assert cli.credentials == {}


def code_awaited() -> str:
    """The code of the login that the command line begins."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if login := DeviceLogin.objects.filter(status=DeviceLogin.Status.PENDING).first():
            return login.shown_code
        time.sleep(0.05)
    raise AssertionError("The command line began no login.")


def test_logout_revokes_the_token_on_the_server(cli: CommandLine, command_line: Callable[..., CommandLine]) -> None:
    secret = cli.credentials["cli_token"]
    assert "Revoked this CLI token on the server" in cli.run("logout", "--remote")
    assert cli.credentials == {}
    assert CliToken.objects.get().status == "revoked"
    other = command_line("thief", STIMULIR_ACCESS_TOKEN=secret)
    assert "Session ended" in other.fail("workspace", "list")


def test_workspaces_are_listed_and_chosen(cli: CommandLine, acme: Workspace, owner: User) -> None:
    second = Workspace.objects.create(name="Second", industry="health")
    Membership.objects.create(workspace=second, user=owner, role=Role.VIEWER)
    table = cli.run("workspace", "list")
    assert "acme" in table
    assert "Second" in table
    assert {row["id"] for row in cli.json("workspace", "list")} == {str(acme.pk), str(second.pk)}
    cli.run("workspace", "use", str(second.pk))
    assert cli.json("whoami")["workspace_id"] == str(second.pk)
    assert "needs the role admin" in cli.fail("keys", "create", "--name", "app")


def test_a_workspace_of_others_is_refused_in_one_line_and_left_again(cli: CommandLine, acme: Workspace) -> None:
    theirs = Workspace.objects.create(name="Theirs")
    cli.run("workspace", "use", str(theirs.pk))
    assert "not a member" in cli.fail("keys", "list")
    assert [row["name"] for row in cli.json("workspace", "list")] == ["acme"]


def test_keys_are_created_listed_and_revoked(cli: CommandLine) -> None:
    options = ("--env", "dev", "--expires-in-days", "30", "--credit-limit-pence", "500")
    made = cli.json("keys", "create", "--name", "app", *options)
    assert made["key"].startswith("hyb_")
    assert (made["env"], made["credit_limit_pence"]) == ("dev", 500)
    assert "shown ONCE" in cli.run("keys", "create", "--name", "second")
    table = cli.run("keys", "list")
    assert made["prefix"] in table
    assert "active" in table
    assert {row["name"] for row in cli.json("keys", "list")["api_keys"]} == {"app", "second", "tests"}
    assert "revoked" in cli.run("keys", "revoke", made["id"], "--yes")
    assert "revoked" in cli.run("keys", "list", "--include-revoked")
    assert [row["name"] for row in cli.json("keys", "list")["api_keys"]] == ["second", "tests"]
    assert "404" in cli.fail("keys", "revoke", NO_ID, "--yes")


def test_a_key_reads_and_makes_none(keyed: CommandLine, acme: Workspace) -> None:
    who = keyed.json("whoami")
    assert (who["email"], who["auth_kind"]) == ("acme@example.com", "api_key")
    assert [row["id"] for row in keyed.json("workspace", "list")] == [str(acme.pk)]
    assert {row["name"] for row in keyed.json("keys", "list")["api_keys"]} == {"agent", "tests"}
    assert "needs the role admin" in keyed.fail("keys", "create", "--name", "child")


def test_every_command_says_in_a_line_what_a_credential_may_not(
    revoked: CommandLine, elsewhere: CommandLine, command_line: Callable[..., CommandLine]
) -> None:
    assert all("unknown or revoked" in said for said in revoked.fail_all(*COMMANDS, "workspace list"))
    assert all("not a member" in said for said in elsewhere.fail_all(*COMMANDS))
    assert all("Not logged in" in said for said in command_line("nobody").fail_all("usage", "whoami", "workspace list"))


@pytest.mark.usefixtures("two_events")
def test_a_key_reads_what_a_login_reads(cli: CommandLine, keyed: CommandLine, base_url: str) -> None:
    for command in ("byok list", "usage --group-by model", "billing reconcile", "compute peers list"):
        assert keyed.json(*command.split()) == cli.json(*command.split())
    assert keyed.json("compute", "peers", "list", "--endpoint", base_url) == {"peers": []}
    assert "1,205" in keyed.run("usage", "--group-by", "model")


def test_provider_credentials_are_added_listed_verified_and_removed(cli: CommandLine, openai: Provider) -> None:
    add = ("byok", "add", "--provider", "openai", "--label")
    made = cli.json(*add, "team", "--secret", openai.key)
    assert (made["provider"], made["label"], made["status"]) == ("openai", "team", "valid")
    wrong = cli.run(*add, "wrong", "--secret", "sk-wrong-key")
    assert "invalid" in wrong
    table = cli.run("byok", "list")
    assert "team" in table
    assert openai.key not in table
    openai.key = "sk-rotated-key"
    assert cli.json("byok", "verify", made["id"])["status"] == "invalid"
    assert "invalid" in cli.run("byok", "verify", made["id"])
    assert cli.json("byok", "remove", made["id"], "--yes") == {"id": made["id"], "deleted": True}
    assert [row["label"] for row in cli.json("byok", "list")["credentials"]] == ["wrong"]
    assert "404" in cli.fail("byok", "verify", made["id"])
    assert "404" in cli.fail("byok", "remove", made["id"], "--yes")
    assert "already" in cli.fail(*add, "wrong", "--secret", "sk-wrong-key")


@pytest.mark.usefixtures("two_events")
def test_usage_in_every_window_and_grouping(cli: CommandLine) -> None:
    for window in ("7d", "30d", "month"):
        for grouping in ("provider", "model", "day"):
            usage = cli.json("usage", "--window", window, "--group-by", grouping)
            assert (usage["totals"]["requests"], usage["totals"]["input_tokens"]) == (2, 1205)
    table = cli.run("usage", "--group-by", "model")
    assert "smollm2" in table
    assert "1,205" in table


@pytest.mark.usefixtures("two_events")
def test_billing_snapshot_reconcile_and_export(cli: CommandLine, keyed: CommandLine, tmp_path: Path) -> None:
    assert cli.json("billing", "snapshot")["mtd"]["requests"] == 2
    assert "byoc" in cli.run("billing", "snapshot")
    reconciled = cli.json("billing", "reconcile")
    assert (reconciled["requests"], reconciled["output_tokens"]) == (2, 35)
    assert "1,205" in cli.run("billing", "reconcile")
    for client, name in ((cli, "login"), (keyed, "key")):
        path = tmp_path / f"{name}.json"
        assert "Exported 2" in client.run("billing", "export-events", "--output", str(path))
        exported = json.loads(path.read_text())
        assert (exported["count"], exported["has_more"]) == (2, False)
        assert {event["adapter_id"] for event in exported["events"]} == {None, "refund-policy"}
