"""Every request example of the description is sent to a real server, and is accepted as described."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from tests.serving import MODEL, Tenant
from workspace.models import CliToken

WORDS = {"smollm2-135m-instruct": MODEL}  # the name that the test server serves it under


@pytest.fixture
def http(tenant: Tenant) -> Iterator[httpx.Client]:
    """The owner's command line; the owner is staff too."""
    tenant.owner.is_staff = True
    tenant.owner.save()
    token = CliToken(user=tenant.owner, workspace=tenant.workspace, name="laptop").issue()
    with httpx.Client(
        base_url=tenant.http.base_url, headers={"Authorization": f"Bearer {token}"}, timeout=120
    ) as client:
        yield client


def test_every_example_runs(http: httpx.Client, tenant: Tenant) -> None:
    description = http.get("/api/schema?format=json").json()
    Walk(http, description, {"event_id": tenant_event(tenant)}).through(lambda path: path.startswith("/api/v1/"))
    for record in http.get("/v1/adapters").json()["adapters"]:
        http.delete(f"/v1/adapters/{record['spec']['id']}?force=true").raise_for_status()
    for address in ("peers", "backends", "entry-nodes"):
        for records in http.get(f"/v1/compute/{address}").json().values():
            for record in records:
                http.delete(f"/v1/compute/{address}/{record['id']}").raise_for_status()
    Walk(http, description, {}).through(lambda path: path.startswith("/v1/"))


def tenant_event(tenant: Tenant) -> str:
    tenant.ask("Hello", max_tokens=2).raise_for_status()
    return tenant.events()[0]["id"]


class Walk:
    """Sends the examples, shortest address first, so that what is made has an id when the next one needs it."""

    def __init__(self, http: httpx.Client, description: dict[str, Any], ids: dict[str, str]) -> None:
        self.http = http
        self.description = description
        self.ids = ids

    def through(self, chosen: Callable[[str], bool]) -> None:
        for path in sorted(filter(chosen, self.description["paths"]), key=lambda path: (path.count("{"), path)):
            for method, operation in self.description["paths"][path].items():
                if method != "delete":
                    for body in examples(operation):
                        self.send(method, path, operation, body)

    def send(self, method: str, path: str, operation: dict[str, Any], body: Any) -> None:
        address = re.sub(r"\{(\w+)\}", lambda name: self.ids[name[1]], path)
        answer = self.http.request(method, address, json=body)
        declared = operation["responses"].get(str(answer.status_code))
        assert answer.is_success, (method, address, answer.text)
        assert declared, (method, address, answer.status_code)
        media = answer.headers.get("content-type", "").partition(";")[0]
        if media == "application/json":
            schema = declared["content"][media]["schema"]
            jsonschema.validate(answer.json(), {**schema, "components": self.description["components"]})
            self.keep_ids(declared, answer.json())

    def keep_ids(self, declared: dict[str, Any], made: dict[str, Any]) -> None:
        """What the links of an answer say that later addresses need."""
        for link in declared.get("links", {}).values():
            for parameter, expression in link["parameters"].items():
                value: Any = made
                for word in expression.removeprefix("$response.body#/").split("/"):
                    value = value[word]
                self.ids[parameter.rpartition(".")[2]] = value


def examples(operation: dict[str, Any]) -> list[Any]:
    """The JSON bodies to send: the examples, or none for an operation that takes no body."""
    content = operation.get("requestBody", {}).get("content")
    if content is None:
        return [None]
    bodies = [example["value"] for example in content["application/json"].get("examples", {}).values()]
    return [
        {**body, "model": WORDS.get(body.get("model"), body.get("model"))} if "model" in body else body
        for body in bodies
    ]
