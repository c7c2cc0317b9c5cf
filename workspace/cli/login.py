"""`lab login` and `lab logout`."""

import time
from typing import Annotated

import httpx
import typer

from workspace.cli.client import Client
from workspace.cli.context import Session
from workspace.cli.failure import Exit, Failure
from workspace.cli.output import console
from workspace.cli.settings import forget, keep, target

GRANT = "urn:ietf:params:oauth:grant-type:device_code"
WAITING = {"authorization_pending", "slow_down"}


def login(
    context: typer.Context,
    token: Annotated[str | None, typer.Option(help="A CLI token or API key that you have already.")] = None,
) -> None:
    """Sign in: approve this command line on a page of the server, or give a token."""
    session = context.obj
    assert isinstance(session, Session)
    server = target(session.server, None).server
    secret = token or approved(server)
    client = Client(target(server, secret))
    client.get("/v1/adapters")
    keep(server, secret)
    console.print(f"Signed in to {server}.", markup=False)


def logout() -> None:
    """Forget what `lab login` has kept. The token stays valid until it is revoked on the server."""
    console.print("Signed out." if forget() else "You were not signed in.")


def approved(server: str) -> str:
    """The token of a device login (RFC 8628), once a person has approved it."""
    client = Client(target(server, None))
    begun = client.call("POST", "/api/v1/cli/device/code", json={"client_name": "lab"})
    console.print(f"Open {begun['verification_uri_complete']}", markup=False)
    console.print(f"and check that it shows the code {begun['user_code']}.", markup=False)
    interval, deadline = begun["interval"], time.monotonic() + begun["expires_in"]
    with httpx.Client(base_url=server) as http:
        while time.monotonic() < deadline:
            time.sleep(interval)
            answer = http.post(
                "/api/v1/cli/device/token", json={"device_code": begun["device_code"], "grant_type": GRANT}
            )
            if answer.is_success:
                return answer.json()["access_token"]
            said = answer.json()["detail"]["error"]
            if said not in WAITING:
                raise Failure(f"The login was not approved: {said}.", Exit.REFUSED, said)
            interval += 5 * (said == "slow_down")
    raise Failure("Nobody approved the login in time.", Exit.REFUSED, "expired_token")
