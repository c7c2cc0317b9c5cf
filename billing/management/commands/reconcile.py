"""`manage.py reconcile`: is everything that is derived from the ledger what the ledger says?"""

import json
import sys
from argparse import ArgumentParser
from datetime import UTC, datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from billing.models import StoredSnapshot
from billing.periods import Period
from billing.reconcile import reconcile
from billing.snapshots import store_snapshot
from workspace.models import Workspace


class Command(BaseCommand):
    help = "Sum the raw ledger of a month again and compare it with rollups, spends and stored snapshots."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", help="YYYY-MM, in UTC; default: this month")
        parser.add_argument(
            "--restate",
            action="store_true",
            help="store a new revision of each stored snapshot that late events have changed",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        period = Period.month_of(self.moment(options["month"]))
        if options["restate"]:
            stored = StoredSnapshot.objects.filter(month=period.start.date()).values("workspace")
            for workspace in Workspace.objects.filter(pk__in=stored):
                self.stdout.write(f"{store_snapshot(workspace, period)}")
        outcome = reconcile(period)
        for difference in outcome.differences:
            self.stdout.write(json.dumps(difference))
        self.stdout.write(f"{period.start:%Y-%m}: {outcome.events} events, {len(outcome.differences)} differences")
        if outcome.differences:
            sys.exit(1)

    def moment(self, month: str | None) -> datetime:
        if month is None:
            return datetime.now(UTC)
        try:
            return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
        except ValueError:
            raise CommandError(f"--month must be a month such as 2026-11; it is {month!r}.") from None
