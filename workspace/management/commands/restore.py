"""`manage.py restore FILE`: a backup, into an installation that is still empty."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from workspace.backup import BackupFailed, restore


class Command(BaseCommand):
    help = "Bring a backup into an empty LAB_HOME and an empty database; the next `serve` finds everything."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            restore(settings.HOME, settings.DATABASE_URL, options["file"].resolve())
        except BackupFailed as error:
            raise CommandError(str(error)) from None
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write("Restored. `manage.py reconcile` compares the ledger with what is summed from it.")
