"""`lab internalize`."""

import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress

from workspace.cli.client import Client
from workspace.cli.context import AsJson, client_of
from workspace.cli.failure import Exit, Failure
from workspace.cli.output import console, errors, left, print_json

PIPED = "-"
UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
ASKED_EVERY_S = 1.0


def internalize(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="A text file; - reads what is piped in.")],
    adapter_id: Annotated[str | None, typer.Option("--id", help="What to call the adapter.")] = None,
    name: Annotated[str | None, typer.Option(help="By default the file's name.")] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it lives: 90s, 30m, 12h, 7d.")] = None,
    session: Annotated[str | None, typer.Option(help="A session that it belongs to.")] = None,
    pin: Annotated[bool, typer.Option(help="Never evict it.")] = False,
    method: Annotated[str | None, typer.Option(help="hypernet or distill.")] = None,
    load: Annotated[bool, typer.Option(help="Load it once it is made.")] = True,
    as_json: AsJson = False,
) -> None:
    """Turn a document into an adapter (Doc-to-LoRA)."""
    document = file if file != PIPED else "what was piped in"
    client = client_of(context)
    record = client.post(
        "/v1/d2l/internalize",
        {
            "document_text": read(file),
            "id": adapter_id,
            "name": name or (Path(file).name if file != PIPED else None),
            "ttl_seconds": seconds(ttl) if ttl else None,
            "session_key": session,
            "pin": pin,
            "method": method,
            "load": load,
        },
    )
    if record["status"] == "running":
        record = followed(client, record, quiet=as_json)
    if as_json:
        print_json(record)
    if record["status"] != "ready":
        reason = (record["error"] or {}).get("message", "It was given up.")
        raise Failure(f"{document} was not internalized: {reason}", Exit.FAILED, record["status"])
    if not as_json:
        expiry = f", for {left(record['expires_at'])}" if record["expires_at"] else ""
        made = f"{record['document_tokens']} tokens in {record['internalize_ms']} ms"
        console.print(f"{record['adapter_id']} is made of {document} ({made}){expiry}.", markup=False)
        console.print(f"Ask it: lab chat --adapter {record['adapter_id']}", markup=False)


def read(file: str) -> str:
    try:
        return sys.stdin.read() if file == PIPED else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{file} cannot be read as text: {error}.", Exit.USAGE) from error


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([smhd]?)", text)
    if match is None:
        raise Failure(f"--ttl {text} is no time: write 90s, 30m, 12h or 7d.", Exit.USAGE)
    return int(match[1]) * UNITS[match[2]]


def followed(client: Client, record: dict[str, Any], quiet: bool) -> dict[str, Any]:
    """The record once it has ended, with a bar meanwhile."""
    with Progress(console=errors, transient=True, disable=quiet) as bars:
        bar = bars.add_task("Distilling", total=1.0)
        while record["status"] == "running":
            time.sleep(ASKED_EVERY_S)
            record = client.get(f"/v1/d2l/internalizations/{record['id']}")
            bars.update(bar, completed=record["progress"], description=record["message"] or "Distilling")
    return record
