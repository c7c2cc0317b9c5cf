"""Fixtures of the whole test run. Its Postgres is the embedded one, started here before Django's settings load."""

import os

import django

from workspace.embedded import prepare_environment

prepare_environment()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
django.setup()
