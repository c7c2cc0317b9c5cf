#!/usr/bin/env python
"""Lab Workspace's management commands. `manage.py serve` runs everything; `manage.py help` lists the rest."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
    from workspace.embedded import ServiceUnavailable, prepare_environment
    from workspace.home import HomeUnusable

    try:
        prepare_environment()
    except (HomeUnusable, ServiceUnavailable) as error:
        sys.exit(f"error: {error}")

    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
