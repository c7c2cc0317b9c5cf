"""`lab doctor`: checks everything, and says how to mend it."""

import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import typer

from workspace.cli.client import Client
from workspace.cli.context import AsJson, client_of
from workspace.cli.failure import Exit, Failure
from workspace.cli.output import console, print_json
from workspace.cli.settings import home

OLDEST_PYTHON = (3, 11)
LEAST_DISK_GB = 3


@dataclass(frozen=True)
class Finding:
    """One check: what was found, and what to do if that is not well."""

    check: str
    is_well: bool
    found: str
    remedy: str = ""


def doctor(context: typer.Context, as_json: AsJson = False) -> None:
    """Check this machine, the server, the sign-in and the meter. The exit code is 1 if something is not well."""
    findings = list(examined(client_of(context)))
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            mark = "[green]well[/green]" if finding.is_well else "[red]not well[/red]"
            console.print(f"{mark:22} {finding.check}: {finding.found}")
            if not finding.is_well:
                console.print(f"         {finding.remedy}")
    if not all(finding.is_well for finding in findings):
        raise typer.Exit(Exit.FAILED)


def examined(client: Client) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= OLDEST_PYTHON, version, "Install Python 3.11 or newer.")
    place = home() if home().exists() else home().resolve().parent
    free = shutil.disk_usage(place).free / 1e9 if place.exists() else 0.0
    yield Finding(
        "Disk", free >= LEAST_DISK_GB, f"{free:.0f} GB free at {place}", f"Free {LEAST_DISK_GB} GB, or set LAB_HOME."
    )
    reached = tried("Server", lambda: f"{client.get('/v1/health')['model']} at {client.to.server}", "Run `lab serve`.")
    yield reached
    if not reached.is_well:
        return
    yield tried("Adapters", lambda: slots(client), "See the server's log under LAB_HOME/logs.")
    signed = tried("Sign-in", lambda: signed_in(client), "Run `lab login`, or set LAB_API_KEY.")
    yield signed
    if signed.is_well:
        yield tried(
            "Meter", lambda: metered(client), "See docs/metering.md; staff see the outbox in the admin console."
        )


def tried(check: str, look: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(check, True, look())
    except Failure as failure:
        return Finding(check, False, failure.message, remedy)


def slots(client: Client) -> str:
    status = client.get("/v1/adapters/status")
    return f"{status['slots_used']} of {status['max_active_loras']} slots used"


def signed_in(client: Client) -> str:
    client.get("/api/v1/usage/summary", window="7d", group_by="day")
    return f"with what is in {client.to.source}"


def metered(client: Client) -> str:
    snapshot = client.get("/api/v1/billing/hybrie/snapshot")
    unpriced = snapshot["unmetered_event_count"]
    return f"{snapshot['mtd']['requests']} requests this month, {unpriced} of them without a price"
