"""The routing tests drive the server of `tests.serving`; other servers are real ones beside it."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inference.providers import listed
from tests.routing.upstream import KEY, Upstream
from tests.serving import Tenant
from workspace.models import ProviderCredential


@pytest.fixture(scope="session")
def upstream_server() -> Iterator[Upstream]:
    server = Upstream()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def upstream(upstream_server: Upstream) -> Upstream:
    upstream_server.asked.clear()
    upstream_server.adapters.clear()
    upstream_server.is_fixed = False
    listed.known.clear()
    return upstream_server


def bring_key(tenant: Tenant, base_url: str, secret: str = KEY, provider: str = "openai") -> ProviderCredential:
    """A credential of the workspace, as `/api/v1/workspace/byok` keeps it."""
    credential = ProviderCredential(
        workspace=tenant.workspace, provider=provider, label=f"{provider}-{secret[-4:]}", base_url=base_url
    )
    credential.secret = secret
    credential.save()
    return credential


@pytest.fixture
def keyed(tenant: Tenant, upstream: Upstream) -> Tenant:
    """A workspace whose own key at the provider `openai` leads to the upstream."""
    bring_key(tenant, f"{upstream.url}/v1")
    return tenant


def ask(tenant: Tenant, model: str, **fields: Any) -> httpx.Response:
    """A chat request; fields that start with `x_` are headers."""
    headers = {name.replace("_", "-"): fields.pop(name) for name in list(fields) if name.startswith("x_")}
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "Which city is the capital of France? Answer with one word."}],
        **fields,
    }
    return tenant.http.post("/v1/chat/completions", json=body, headers=headers)


def error_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    body = answer.json()["error"]
    return answer.status_code, body["code"], body["param"]


def text_of(answer: httpx.Response) -> str:
    return answer.raise_for_status().json()["choices"][0]["message"]["content"]
