"""`manage.py serve`: everything, with one command."""

import signal
import sys
from typing import Any

from django.core.management.base import BaseCommand

from inference.serving import Refusal, Server


class Command(BaseCommand):
    help = "Start the database, the broker, the workers, the engine and the HTTP server; Ctrl-C stops them all."
    requires_system_checks: list[str] = []
    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM unwinds what was started, as Ctrl-C does
        try:
            Server().run()
        except Refusal as refusal:
            sys.exit(f"error: {refusal}")
        except KeyboardInterrupt:
            sys.exit(130)
