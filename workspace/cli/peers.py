"""`lab peers`."""

from typing import Annotated

import typer

from workspace.cli.context import AsJson, client_of
from workspace.cli.output import console, print_json, table

PATH = "/v1/compute/peers"

app = typer.Typer(no_args_is_help=True, help="Other nodes that requests may be sent to.")


@app.command("list")
def list_peers(context: typer.Context, as_json: AsJson = False) -> None:
    """The registered compute peers."""
    found = client_of(context).get(PATH)
    if as_json:
        print_json(found)
        return
    rows = ([peer["id"], peer["name"], peer["reachable"]] for peer in found["peers"])
    table(("ID", "NAME", "REACHABLE"), rows, "No peers.")


@app.command()
def add(
    context: typer.Context,
    name: str,
    url: Annotated[str, typer.Argument(help="Its address, as http://host:port.")],
    peer_key: Annotated[str | None, typer.Option(help="A key that it takes.")] = None,
    probe: Annotated[bool, typer.Option(help="Ask it at once whether it is there.")] = True,
    as_json: AsJson = False,
) -> None:
    """Register a compute peer."""
    made = client_of(context).post(PATH, {"name": name, "http_url": url, "api_key": peer_key, "probe": probe})
    if as_json:
        print_json(made)
        return
    console.print(f"{name} is registered as {made['id']}.", markup=False)


@app.command()
def rm(context: typer.Context, peer_id: str, as_json: AsJson = False) -> None:
    """Remove a compute peer."""
    client_of(context).delete(f"{PATH}/{peer_id}")
    if as_json:
        print_json({"removed": peer_id})
        return
    console.print(f"{peer_id} is removed.", markup=False)
