"""Another workspace's key cannot list, see, load, unload, route to, delete or learn of an adapter."""

from collections.abc import Callable
from pathlib import Path

from tests.http.conftest import Tenant
from tests.http.test_chat_refusals import error

ABSENT = (404, "adapter_not_found", "id")


def test_a_stranger_cannot_tell_it_exists(new_tenant: Callable[[str], Tenant], random_adapters: list[Path]) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    ours.register("secret", random_adapters[0]).raise_for_status()
    ours.load("secret").raise_for_status()
    for name in ("secret", "unknown"):
        assert error(theirs.http.get(f"/v1/adapters/{name}")) == ABSENT
        assert error(theirs.load(name)) == ABSENT
        assert error(theirs.http.post(f"/v1/adapters/{name}/unload")) == ABSENT
        assert error(theirs.http.delete(f"/v1/adapters/{name}?force=true")) == ABSENT
        assert error(theirs.ask("Hi", name)) == ABSENT
        assert error(theirs.ask("Hi", model=name)) == (404, "model_not_found", "model")
    assert theirs.http.get("/v1/adapters").json() == {"adapters": []}
    assert theirs.http.get("/v1/adapters/status").json()["adapters"] == []
    assert "secret" not in theirs.http.get("/v1/models").text
    assert theirs.http.get("/api/v1/usage/events").json()["events"] == []
    assert ours.http.get("/v1/adapters/secret").json()["state"] == "loaded"


def test_two_workspaces_may_use_one_id(new_tenant: Callable[[str], Tenant], random_adapters: list[Path]) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    answers = []
    for tenant, folder in ((ours, random_adapters[1]), (theirs, random_adapters[4])):
        tenant.register("same", folder).raise_for_status()
        tenant.load("same").raise_for_status()
        answers.append(tenant.ask("Name a colour.", "same", max_tokens=12).json()["choices"][0]["message"])
    assert answers[0] != answers[1]
    theirs.http.post("/v1/adapters/same/unload").raise_for_status()
    assert ours.http.get("/v1/adapters/same").json()["state"] == "loaded"
    again = ours.ask("Name a colour.", "same", max_tokens=12).json()["choices"][0]["message"]
    assert again == answers[0]
