"""Fixtures of the whole test run. Its Postgres is the embedded one, started here before Django's settings load."""

import os

import django
from django.db import connections

from workspace.embedded import prepare_environment

prepare_environment()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
django.setup()

# A database of its own for each run, so that two runs at once on one server do not meet
connections["default"].settings_dict["TEST"]["NAME"] = f"test_{os.getpid()}"
