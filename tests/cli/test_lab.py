from pathlib import Path

from tests.cli.conftest import Lab
from tests.serving import MODEL, Tenant
from workspace.models import CliToken

FACT = "The special magic number for Porto tower is 48213."
QUESTION = "What is the special magic number for Porto tower?"


def test_adapters_come_and_go(lab: Lab, random_adapters: list[Path]) -> None:
    assert "No adapters" in lab.run("adapters", "list")
    assert "mine is registered" in lab.run("adapters", "add", str(random_adapters[0]), "--id", "mine")
    assert "mine is loaded" in lab.run("adapters", "load", "mine")
    assert "mine is pinned" in lab.run("adapters", "pin", "mine")
    listed = lab.json("adapters", "list")["adapters"]
    assert [(each["spec"]["id"], each["state"], each["pinned"]) for each in listed] == [("mine", "loaded", True)]
    assert "mine" in lab.run("adapters", "list")
    assert "q_proj" in lab.run("adapters", "show", "mine")
    status = lab.run("status")
    assert MODEL in status
    assert "mine" in status
    assert "adapter_loaded" in lab.fail(7, "adapters", "rm", "mine")
    assert "mine is unloaded" in lab.run("adapters", "unload", "mine")
    assert lab.json("adapters", "rm", "mine") == {"deleted": ["mine"]}
    assert "adapter_not_found" in lab.fail(4, "adapters", "load", "mine")


def test_a_document_is_internalized_and_asked(lab: Lab, tenant: Tenant) -> None:
    (lab.home / "facts.txt").write_text(FACT)
    made = lab.json("internalize", "facts.txt", "--ttl", "1h", "--session", "visitor", "--id", "porto")
    assert (made["name"], made["ttl_seconds"], made["session_key"]) == ("facts.txt", 3600, "visitor")
    again = lab.run("internalize", "facts.txt", "--ttl", "1h", "--session", "visitor")
    assert "porto is made of facts.txt" in again
    piped = lab.run("internalize", "-", "--id", "piped", typed="The special magic number for Oslo tower is 90917.")
    assert "piped is made of what was piped in (" in piped
    options = ("--max-tokens", "24", "--temperature", "0")
    assert "48213" in lab.run("chat", QUESTION, "--adapter", "porto", *options)
    both = lab.run("chat", QUESTION, "--adapter", "porto", "--compare", *options)
    assert both.index("base model") < both.index("48213")
    assert lab.run("chat", "--adapter", "porto", *options, typed=f"{QUESTION}\n/quit\n").count("48213") >= 1
    answers = lab.json("chat", QUESTION, "--adapter", "porto", *options)
    assert "48213" in answers[0]["choices"][0]["message"]["content"]
    adapters = [event["adapter_id"] for event in tenant.events()]
    assert adapters.count("porto") == 4
    assert "porto" in lab.run("usage", "--by", "adapter")
    assert len(lab.json("usage", "--events", "2")["events"]) == 2
    assert "through adapters" in lab.run("billing")
    assert lab.json("billing")["mtd"]["requests"] == 5


def test_what_is_wrong_is_said_in_a_line(lab: Lab, tmp_path: Path) -> None:
    assert "cannot be read as text" in lab.fail(2, "internalize", "none.txt")
    (lab.home / "empty.txt").write_text(" ")
    assert "--ttl soon is no time" in lab.fail(2, "internalize", "empty.txt", "--ttl", "soon")
    assert "document_empty" in lab.fail(2, "internalize", "empty.txt")
    assert "needs an --adapter" in lab.fail(2, "chat", "Hi", "--compare")
    assert "holds no adapter_config.json" in lab.fail(2, "adapters", "add", str(tmp_path))
    assert "adapter_not_found" in lab.fail(4, "chat", "Hi", "--adapter", "none")
    away = Lab(lab.home, "http://127.0.0.1:9", lab.key)
    assert "cannot be reached" in away.fail(5, "status")
    stranger = Lab(lab.home, lab.server, "hyb_no_such_key")
    assert "invalid_api_key" in stranger.fail(3, "adapters", "list")


def test_keys_are_made_and_revoked(lab: Lab, tenant: Tenant) -> None:
    assert "role_insufficient" in lab.fail(3, "keys", "create", "robot")
    lab = Lab(lab.home, lab.server, CliToken(workspace=tenant.workspace, user=tenant.owner, name="laptop").issue())
    made = lab.json("keys", "create", "robot", "--env", "prod")
    other = Lab(lab.home, lab.server, made["key"])
    assert "No adapters" in other.run("adapters", "list")
    assert "robot" in lab.run("keys", "list")
    lab.run("keys", "revoke", made["id"])
    assert "invalid_api_key" in other.fail(3, "adapters", "list")


def test_peers_are_added_and_removed(lab: Lab) -> None:
    made = lab.json("peers", "add", "gpu-2", "http://127.0.0.1:18080", "--no-probe")
    assert "gpu-2" in lab.run("peers", "list")
    lab.run("peers", "rm", made["id"])
    assert lab.json("peers", "list") == {"peers": []}


def test_a_login_is_kept_for_its_owner_alone(lab: Lab, tenant: Tenant) -> None:
    nobody = Lab(lab.home, lab.server, None)
    assert "missing_api_key" in nobody.fail(3, "adapters", "list")
    assert "Signed in" in nobody.run("login", "--token", tenant.key)
    kept = lab.home / ".config/lab/login.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "No adapters" in nobody.run("adapters", "list")
    assert "Signed out" in nobody.run("logout")
    assert not kept.exists()


def test_the_doctor_finds_what_is_not_well(lab: Lab) -> None:
    assert "not well" not in lab.run("doctor")
    findings = lab.start("doctor", "--json")
    assert findings.exit_code == 0
    away = Lab(lab.home, "http://127.0.0.1:9", None).start("doctor")
    assert away.exit_code == 1
    assert "lab serve" in away.output
