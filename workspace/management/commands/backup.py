"""`manage.py backup FILE`: everything that cannot be made again, in one file."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from workspace.backup import BackupFailed, back_up


class Command(BaseCommand):
    help = "Write the database, the adapters, the keys and the meter's spool to one file. The server may run."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, **options: Any) -> None:
        target: Path = options["file"].resolve()
        try:
            back_up(settings.HOME, settings.DATABASE_URL, target)
        except BackupFailed as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{target}: {target.stat().st_size / 1e6:.1f} MB")
