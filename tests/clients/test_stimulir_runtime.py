"""The public `stimulir` 0.2.63 at the model: models, chat, adapters, documents and trainings.

Each command is run with a login through the console, and with a key straight at the runtime where it offers that.
"""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.conftest import QUESTION, CommandLine
from tests.serving import ALIAS, MODEL, Tenant
from workspace.models import ApiKey

NO_JOB = "00000000-0000-0000-0000-000000000000"
MANAGED = ("--compute-offer", "gpu_1x_a10", "--region", "uk-1")


def test_models_are_listed(cli: CommandLine, keyed: CommandLine, base_url: str) -> None:
    table = cli.run("models")
    assert MODEL in table
    assert "On" in table
    for rows in (
        cli.json("models")["data"],
        keyed.json("models")["data"],
        keyed.json("models", "--endpoint", base_url)["data"],
    ):
        assert [row["id"] for row in rows] == [MODEL, ALIAS]
        assert rows[0]["model_kind"] == "base"
    assert MODEL in keyed.run("models", "--endpoint", base_url)


def test_models_need_a_key_that_counts_and_a_workspace_of_ones_own(
    revoked: CommandLine, elsewhere: CommandLine, base_url: str
) -> None:
    assert "unknown or revoked" in revoked.fail("models")
    assert "unknown or revoked" in revoked.fail("models", "--endpoint", base_url)
    assert "not a member" in elsewhere.fail("models")


def test_a_chat_is_answered_whole_and_streamed(cli: CommandLine, keyed: CommandLine, tenant: Tenant) -> None:
    chat = ("infer", "chat", "Say hello.", "--model", MODEL, "--temperature", "0", "--max-tokens", "8")
    answer = keyed.json(*chat)
    text = answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] == 8
    for client in (cli, keyed):
        assert text.strip() in client.run(*chat)
        assert client.run(*chat, "--stream").strip() == text.strip()
    assert len(tenant.events()) == 5
    left = ApiKey.objects.exclude(name__in=("agent", "tests"))
    assert [key.status for key in left] == ["revoked"] * left.count()  # those that the login had made for a command


@pytest.mark.usefixtures("refund_policy")
def test_a_chat_that_is_refused_says_why_in_a_line(
    cli: CommandLine, revoked: CommandLine, command_line: Callable[..., CommandLine]
) -> None:
    assert "no-such-model" in cli.fail("infer", "chat", "Hi", "--model", "no-such-model")
    assert "not loaded" in cli.fail("infer", "chat", "Hi", "--model", "refund-policy", "--stream")
    assert "unknown or revoked" in revoked.fail("infer", "chat", "Hi", "--model", MODEL)
    assert "unknown or revoked" in revoked.fail("infer", "chat", "Hi", "--model", MODEL, "--stream")
    assert "Not logged in" in command_line("nobody").fail("infer", "chat", "Hi", "--model", MODEL)


def test_a_chat_in_a_workspace_of_others_is_refused(elsewhere: CommandLine) -> None:
    assert "not a member" in elsewhere.fail("infer", "chat", "Hi", "--model", MODEL)


@pytest.mark.usefixtures("refund_policy")
def test_adapters_are_listed_shown_loaded_and_unloaded(cli: CommandLine, keyed: CommandLine, base_url: str) -> None:
    adapters = ("lab", "adapters")
    straight = ("--endpoint", base_url)
    assert "refund-policy" in cli.run(*adapters, "list")
    assert "refund-policy" in keyed.run(*adapters, "list", *straight)
    assert [row["state"] for row in keyed.json(*adapters, "list")["adapters"]] == ["registered"]
    assert "q_proj" in cli.run(*adapters, "get", "refund-policy")
    assert keyed.json(*adapters, "get", "refund-policy", *straight)["spec"]["base_model"] == MODEL

    assert "refund-policy loaded" in cli.run(*adapters, "load", "refund-policy")
    chat = ("infer", "chat", QUESTION, "--model", "refund-policy", "--temperature", "0")
    assert "45 days" in cli.run(*chat)
    assert [row.get("parent") for row in keyed.json("models")["data"]] == [None, None, MODEL]
    assert "refund-policy unloaded" in cli.run(*adapters, "unload", "refund-policy")
    assert keyed.json(*adapters, "load", "refund-policy", *straight)["state"] == "loaded"
    assert re.search(r"backend local +│ +loaded", keyed.run(*adapters, "get", "refund-policy", *straight))
    assert keyed.json(*adapters, "unload", "refund-policy", *straight)["state"] == "registered"


@pytest.mark.parametrize("verb", ["get", "load", "unload"])
def test_an_adapter_that_is_not_there_is_said_in_a_line(
    verb: str, cli: CommandLine, keyed: CommandLine, base_url: str
) -> None:
    assert "none" in cli.fail("lab", "adapters", verb, "none")
    assert "404" in keyed.fail("lab", "adapters", verb, "none", "--endpoint", base_url)


@pytest.mark.usefixtures("refund_policy")
def test_adapters_need_a_key_that_counts_and_a_workspace_of_ones_own(
    revoked: CommandLine, elsewhere: CommandLine, base_url: str
) -> None:
    for verb in (("list",), ("get", "refund-policy"), ("load", "refund-policy"), ("unload", "refund-policy")):
        assert "unknown or revoked" in revoked.fail("lab", "adapters", *verb, "--endpoint", base_url)
        assert "not a member" in elsewhere.fail("lab", "adapters", *verb)


def test_a_document_is_internalized_and_answered_through(
    cli: CommandLine, keyed: CommandLine, base_url: str, tmp_path: Path
) -> None:
    document = tmp_path / "facts.txt"
    document.write_text("The special magic number for Porto tower is 48213.")
    internalize = ("lab", "d2l", "internalize", str(document), *MANAGED)
    made = keyed.json(*internalize, "--endpoint", base_url)
    assert (made["status"], made["method"], made["name"]) == ("ready", "hypernet", "facts.txt")
    assert made["adapter_id"] in cli.run(*internalize, "--name", "Porto")
    question = "What is the special magic number for Porto tower?"
    chat = ("infer", "chat", question, "--model", made["adapter_id"], "--temperature", "0", "--max-tokens", "24")
    assert "48213" in cli.run(*chat)


def test_a_document_that_is_refused_says_why_in_a_line(
    cli: CommandLine, revoked: CommandLine, elsewhere: CommandLine, base_url: str, tmp_path: Path
) -> None:
    document = tmp_path / "blank.txt"
    document.write_text(" ")
    internalize = ("lab", "d2l", "internalize", str(document), *MANAGED)
    assert "holds no text" in cli.fail(*internalize)
    assert "unknown or revoked" in revoked.fail(*internalize, "--endpoint", base_url)
    assert "not a member" in elsewhere.fail(*internalize)


def test_trainings_are_begun_listed_shown_and_cancelled(cli: CommandLine, keyed: CommandLine, base_url: str) -> None:
    straight = ("--endpoint", base_url)
    train = ("lab", "train", "d2l", "--family", MODEL, "--examples", "96", "--lr", "0.0002", "--seed", "3")
    first = cli.json(*train)
    assert (first["status"], first["settings"]["seed"]) == ("queued", 3)
    assert "Training job submitted" in cli.run(*train)
    second = keyed.json(*train, "--eval-examples", "8", *straight)

    jobs = ("lab", "jobs")
    assert [first["job_id"][:13] in line for line in cli.run(*jobs, "list").splitlines()].count(True) == 1
    for listed in (cli.json(*jobs, "list"), keyed.json(*jobs, "list"), keyed.json(*jobs, "list", *straight)):
        assert [job["status"] for job in listed["jobs"]] == ["queued"] * 3
    assert "queued" in keyed.run(*jobs, "list", *straight)
    assert "queued" in cli.run(*jobs, "get", first["job_id"])
    assert keyed.json(*jobs, "get", first["job_id"], *straight)["steps"] == 2

    assert "cancelled" in cli.run(*jobs, "cancel", first["job_id"], "--yes")
    assert keyed.json(*jobs, "cancel", second["job_id"], "--yes", *straight)["status"] == "cancelled"
    assert "cancelled" in keyed.run(*jobs, "get", second["job_id"])
    assert "has ended already" in cli.fail(*jobs, "cancel", first["job_id"], "--yes")


def test_a_training_that_is_refused_says_why_in_a_line(
    cli: CommandLine, revoked: CommandLine, elsewhere: CommandLine, base_url: str
) -> None:
    train = ("lab", "train", "d2l", "--family")
    assert MODEL in cli.fail(*train, "no-such-model")
    assert "unknown or revoked" in revoked.fail(*train, MODEL, "--endpoint", base_url)
    for verb in (("get", NO_JOB), ("cancel", NO_JOB, "--yes")):
        assert "There is no training job" in cli.fail("lab", "jobs", *verb)
        assert "unknown or revoked" in revoked.fail("lab", "jobs", *verb, "--endpoint", base_url)
    assert "404" in cli.fail("lab", "jobs", "get", "job-17")
    for command in (("jobs", "list"), ("train", "d2l", "--family", MODEL)):
        assert "not a member" in elsewhere.fail("lab", *command)
