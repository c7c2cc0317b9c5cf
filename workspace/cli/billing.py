"""`lab billing`."""

import typer

from workspace.cli.context import AsJson, client_of
from workspace.cli.output import console, facts, print_json, table


def billing(context: typer.Context, as_json: AsJson = False) -> None:
    """The bill of this month so far, and how much of it adapters served."""
    found = client_of(context).get("/api/v1/billing/hybrie/snapshot")
    if as_json:
        print_json(found)
        return
    month, coverage = found["mtd"], found["adapter_coverage"]
    share = coverage["requests_pct"]
    facts(
        [
            ("period", f"{found['period_start']} to {found['period_end']}"),
            ("requests", month["requests"]),
            ("tokens in", month["input_tokens"]),
            ("tokens out", month["output_tokens"]),
            ("cost GBP", month["cost_gbp"]),
            ("through adapters", "no traffic yet" if share is None else f"{share} % of requests"),
            ("without a price", found["unmetered_event_count"]),
        ]
    )
    console.print()
    rows = ([mode["mode"], mode["requests"], mode["cost_pence"]] for mode in month["by_mode"])
    table(("MODE", "REQUESTS", "COST PENCE"), rows, "No mode was used.")
