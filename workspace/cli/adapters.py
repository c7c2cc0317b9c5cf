"""`lab adapters`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import wrap_file

from workspace.adapter_files import FILES
from workspace.cli.client import Client
from workspace.cli.context import AsJson, client_of
from workspace.cli.failure import Exit, Failure
from workspace.cli.output import console, errors, facts, left, print_json, table

app = typer.Typer(no_args_is_help=True, help="Register, load and remove adapters.")
Id = Annotated[str, typer.Argument(help="The adapter's id.")]


@app.command("list")
def list_adapters(context: typer.Context, as_json: AsJson = False) -> None:
    """All adapters of the workspace, with their state."""
    found = client_of(context).get("/v1/adapters")
    if as_json:
        print_json(found)
        return
    rows = (
        [
            record["spec"]["id"],
            record["state"],
            record["pinned"],
            record["spec"]["rank"],
            record["spec"]["source"],
            left(record["expires_at"]),
        ]
        for record in found["adapters"]
    )
    table(("ID", "STATE", "PINNED", "RANK", "SOURCE", "EXPIRES IN"), rows, "No adapters. `lab adapters add` makes one.")


@app.command()
def show(context: typer.Context, adapter_id: Id, as_json: AsJson = False) -> None:
    """One adapter."""
    record = client_of(context).get(f"/v1/adapters/{adapter_id}")
    if as_json:
        print_json(record)
        return
    facts(
        [*record["spec"].items(), *((name, record[name]) for name in ("state", "pinned", "session_key", "expires_at"))]
    )


@app.command()
def add(
    context: typer.Context,
    source: Annotated[str, typer.Argument(help="A PEFT folder here, or owner/name on the Hugging Face hub.")],
    adapter_id: Annotated[str | None, typer.Option("--id", help="By default the folder's name.")] = None,
    load: Annotated[bool, typer.Option(help="Load it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Register an adapter: upload a folder, or have the server fetch it from the hub."""
    client = client_of(context)
    folder = Path(source)
    named = adapter_id or folder.resolve().name
    if folder.is_dir():
        record = upload(client, folder, named)
    elif source.count("/") == 1 and not source.startswith((".", "/")):
        record = client.post("/v1/adapters", {"id": adapter_id or source.partition("/")[2], "hub_id": source})
    else:
        raise Failure(f"{source} is not a folder here, nor owner/name on the hub.", Exit.USAGE)
    if load:
        record = client.post(f"/v1/adapters/{record['spec']['id']}/load")
    tell(record, as_json, "registered")


def upload(client: Client, folder: Path, adapter_id: str) -> Any:
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise Failure(f"{folder} holds no {' and no '.join(missing)}.", Exit.USAGE)
    with (folder / FILES[0]).open("rb") as config, (folder / FILES[1]).open("rb") as weights:
        shown = wrap_file(
            weights, (folder / FILES[1]).stat().st_size, description="Uploading", console=errors, transient=True
        )
        with shown as watched:
            files = [("files", (FILES[0], config)), ("files", (FILES[1], watched))]
            return client.call("POST", "/v1/adapters", data={"id": adapter_id}, files=files)


@app.command()
def load(
    context: typer.Context,
    adapter_id: Id,
    pin: Annotated[bool, typer.Option(help="Never evict it.")] = False,
    on: Annotated[list[str] | None, typer.Option(help="A backend; may be given again.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load an adapter; nothing restarts."""
    body = {"pin": True if pin else None, "backends": on or None}
    tell(client_of(context).post(f"/v1/adapters/{adapter_id}/load", body), as_json, "loaded")


@app.command()
def unload(context: typer.Context, adapter_id: Id, as_json: AsJson = False) -> None:
    """Unload an adapter; requests that run finish first."""
    tell(client_of(context).post(f"/v1/adapters/{adapter_id}/unload"), as_json, "unloaded")


@app.command()
def pin(
    context: typer.Context,
    adapter_id: Id,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
    as_json: AsJson = False,
) -> None:
    """Load an adapter and keep it from being evicted."""
    record = client_of(context).post(f"/v1/adapters/{adapter_id}/load", {"pin": not off})
    tell(record, as_json, "no longer pinned" if off else "pinned")


@app.command()
def rm(
    context: typer.Context,
    adapter_ids: Annotated[list[str], typer.Argument(help="Ids of adapters.")],
    force: Annotated[bool, typer.Option(help="Unload it first if it is loaded.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete adapters. What was billed on them stays."""
    for adapter_id in adapter_ids:
        client_of(context).delete(f"/v1/adapters/{adapter_id}", force="true" if force else "false")
        if not as_json:
            console.print(f"{adapter_id} is deleted.", markup=False)
    if as_json:
        print_json({"deleted": adapter_ids})


def tell(record: dict[str, Any], as_json: bool, done: str) -> None:
    if as_json:
        print_json(record)
        return
    console.print(f"{record['spec']['id']} is {done}.", markup=False)
    for problem in problems(record):
        errors.print(problem, markup=False)


def problems(record: dict[str, Any]) -> Iterator[str]:
    for name, placement in record["backends"].items():
        if placement["error"]:
            yield f"on {name}: {placement['error']}"
