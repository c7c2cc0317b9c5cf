"""`lab usage`."""

from typing import Annotated

import typer

from workspace.cli.context import AsJson, client_of
from workspace.cli.output import console, print_json, table


def usage(
    context: typer.Context,
    window: Annotated[str, typer.Option(help="7d, 30d or month.")] = "month",
    by: Annotated[str, typer.Option(help="day, model, adapter, provider, modality or mode.")] = "day",
    events: Annotated[int | None, typer.Option(min=1, max=1000, help="The last so many events instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """What was used, summed; or the events themselves."""
    client = client_of(context)
    if events is not None:
        found = client.get("/api/v1/usage/events", limit=events)
        rows = (
            [e["ts"], e["model"], e["adapter_id"], e["status"], e["input_tokens"], e["output_tokens"], e["cost_gbp"]]
            for e in found["events"]
        )
        columns: tuple[str, ...] = ("TIME", "MODEL", "ADAPTER", "STATUS", "IN", "OUT", "COST GBP")
    else:
        found = client.get("/api/v1/usage/summary", window=window, group_by=by)
        points = [*found["points"], {"label": "total", **found["totals"]}]
        rows = (
            [p["label"], p["requests"], p["input_tokens"], p["output_tokens"], p["cached_tokens"], p["cost_gbp"]]
            for p in points
        )
        columns = (by.upper(), "REQUESTS", "IN", "OUT", "CACHED", "COST GBP")
    if as_json:
        print_json(found)
        return
    table(columns, rows, "Nothing was used.")
    if events is None:
        console.print(f"[dim]{found['meta']['period_start']} to {found['meta']['period_end']}[/dim]")
