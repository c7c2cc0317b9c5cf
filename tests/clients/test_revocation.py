"""What is taken back counts no more from the next request on, on every surface."""

from collections.abc import Awaitable, Callable

import grpc
import httpx
import pytest
from hybrie_py.proto import hybrie_llm_pb2 as llm

from tests.clients.conftest import Browser
from tests.clients.hybrie import Client
from tests.routing.nodes import Node
from tests.serving import MODEL, PASSWORD, Tenant
from workspace.models import CliToken, Membership, User

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
PROMPT = [504, 1465, 282, 4649, 314]
NEW_PASSWORD = "another long password"


@pytest.fixture
def node(other_node: Node) -> Node:
    return other_node.up()


def over_http(http: httpx.Client) -> set[int]:
    """The statuses of requests in a workspace: the runtime's and the console's, and a chat's, whole and streamed."""
    answers = [http.get(path) for path in ("/v1/models", "/v1/adapters", "/api/v1/usage/events")]
    answers += [http.post("/v1/chat/completions", json={**CHAT, "stream": stream}) for stream in (False, True)]
    return {answer.status_code for answer in answers}


async def status_of(call: Awaitable[object]) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def counts_until(revoke: Callable[[], object], secret: str, node: Node) -> None:
    """The secret is taken over HTTP and gRPC, there in a session too; and nowhere once it is revoked."""
    headers = {"Authorization": f"Bearer {secret}"}
    client = Client(f"127.0.0.1:{node.grpc_port}", {"authorization": headers["Authorization"]})
    await client.connect()
    stub = client._llm_stub
    prefill = llm.PrefillRequest(model_id=MODEL, input_ids=PROMPT)
    session = llm.DecodeRequest(session_id=(await stub.Prefill(prefill)).session_id)
    with httpx.Client(base_url=node.url, headers=headers, timeout=60) as http:
        assert over_http(http) == {200}
        assert await status_of(stub.DecodeNext(session)) is grpc.StatusCode.OK
        revoke()
        assert over_http(http) == {401}
        assert http.get("/api/v1/users/me").status_code == 401
    assert await status_of(stub.DecodeNext(session)) is grpc.StatusCode.UNAUTHENTICATED
    assert await status_of(stub.Prefill(prefill)) is grpc.StatusCode.UNAUTHENTICATED
    await client.close()


async def test_a_key(node: Node) -> None:
    made = node.call("POST", "/api/v1/workspace/api-keys", json={"name": "short-lived"})
    await counts_until(lambda: node.call("DELETE", f"/api/v1/workspace/api-keys/{made['id']}"), made["key"], node)


@pytest.mark.parametrize("kind", ["cli_token", "session_key"])
async def test_a_login_and_the_keys_that_are_made_from_it(kind: str, node: Node) -> None:
    token = logged_in(node)
    with httpx.Client(base_url=node.url, headers={"Authorization": f"Bearer {token}"}) as login:
        (ours,) = (row for row in login.get("/api/v1/cli/tokens").json()["tokens"] if row["current"])
        session = {"runtime_session_id": "revoked-soon", "ttl_seconds": 3600}
        made = login.post("/api/v1/cli/inference/session-key", json=session).raise_for_status().json()
    secret = token if kind == "cli_token" else made["api_key"]
    await counts_until(lambda: node.call("DELETE", f"/api/v1/cli/tokens/{ours['id']}"), secret, node)


def logged_in(node: Node) -> str:
    """The token of a command line that its person has approved on the node's page."""
    with httpx.Client(base_url=node.url, headers={"Referer": node.url}, timeout=60) as http:
        code = http.post("/api/v1/cli/device/code", json={"client_name": "laptop"}).json()
        browser = Browser(http)
        browser.submit("/sign-in", username=node.made["admin_email"], password=node.made["admin_password"])
        approve = {"decision": "approve", "workspace": node.made["workspace_id"]}
        browser.submit(f"/cli?user_code={code['user_code']}", **approve)
        answer = http.post("/api/v1/cli/device/token", json={"device_code": code["device_code"]})
        return answer.raise_for_status().json()["access_token"]


def test_other_sessions_end_with_a_change_of_password(sign_in: Callable[[], Browser]) -> None:
    here, elsewhere = sign_in(), sign_in()
    assert elsewhere.http.get("/").status_code == 200
    changed = here.submit("/password", old_password=PASSWORD, new_password1=NEW_PASSWORD, new_password2=NEW_PASSWORD)
    assert changed.status_code == 302
    assert here.http.get("/").status_code == 200
    assert elsewhere.http.get("/").headers["location"].startswith("/sign-in")
    assert elsewhere.http.get("/api/v1/usage/events").status_code == 401


@pytest.mark.parametrize(("change", "refusal", "page"), [("leaves", 403, 403), ("is switched off", 401, 302)])
def test_a_person(change: str, refusal: int, page: int, tenant: Tenant, browser: Browser) -> None:
    secret = CliToken(user=tenant.owner, workspace=tenant.workspace, name="laptop").issue()
    token = httpx.Client(base_url=tenant.http.base_url, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
    assert over_http(token) == {200}
    assert browser.http.get("/keys").status_code == 200
    if change == "leaves":
        Membership.objects.get(user=tenant.owner).delete()
    else:
        User.objects.update(is_active=False)
    assert over_http(token) == {refusal}
    assert browser.http.get("/keys").status_code == page
    token.close()
