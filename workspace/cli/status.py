"""`lab status`."""

import typer

from workspace.cli.context import AsJson, client_of
from workspace.cli.output import console, facts, print_json, table


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """What the server runs, and what is in its slots."""
    client = client_of(context)
    health = client.get("/v1/health")
    slots = client.get("/v1/adapters/status")
    if as_json:
        print_json({"server": client.to.server, "health": health, "slots": slots})
        return
    used = f"{slots['slots_used']} of {slots['max_active_loras']}"
    facts(
        [
            ("server", client.to.server),
            ("status", health["status"]),
            ("model", health["model"]),
            ("version", health["version"]),
            ("slots used", used),
        ]
    )
    loaded = [record for record in slots["adapters"] if record["state"] == "loaded"]
    console.print()
    table(
        ("LOADED", "PINNED", "RANK"),
        ([r["spec"]["id"], r["pinned"], r["spec"]["rank"]] for r in loaded),
        "No adapter is loaded.",
    )
