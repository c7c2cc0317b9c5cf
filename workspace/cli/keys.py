"""`lab keys`."""

from typing import Annotated

import typer

from workspace.cli.context import AsJson, client_of
from workspace.cli.output import console, print_json, table

PATH = "/api/v1/workspace/api-keys"

app = typer.Typer(no_args_is_help=True, help="Make and revoke API keys.")


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """The workspace's API keys; their secrets are never shown again."""
    found = client_of(context).get(PATH)
    if as_json:
        print_json(found)
        return
    rows = ([k["id"], k["name"], k["env"], k["status"], k["created_at"]] for k in found["api_keys"])
    table(("ID", "NAME", "ENV", "STATUS", "CREATED"), rows, "No keys.")


@app.command()
def create(
    context: typer.Context,
    name: str,
    env: Annotated[str, typer.Option(help="prod, staging or dev.")] = "dev",
    expires_in_days: Annotated[int | None, typer.Option(min=1)] = None,
    credit_limit_pence: Annotated[int | None, typer.Option(min=0)] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key; its secret is shown this once."""
    body = {
        "name": name,
        "env": env,
        "expires_in_days": expires_in_days,
        "credit_limit_pence": credit_limit_pence,
    }
    made = client_of(context).post(PATH, body)
    if as_json:
        print_json(made)
        return
    console.print(made["key"], markup=False)
    console.print("[dim]It is not shown again.[/dim]")


@app.command()
def revoke(context: typer.Context, key_id: str, as_json: AsJson = False) -> None:
    """Revoke a key; the next request with it is refused."""
    client_of(context).delete(f"{PATH}/{key_id}")
    if as_json:
        print_json({"revoked": key_id})
        return
    console.print(f"{key_id} is revoked.", markup=False)
