"""Fixtures of the whole test run. Its Postgres is the embedded one, started before Django's settings load."""

import os
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.db import connections
from django.test import TransactionTestCase

from inference.model_files import resolve_model
from tests.database import remove_rows
from workspace.embedded import Valkey, prepare_environment
from workspace.home import LabHome

pytest_plugins = ["tests.serving", "tests.routing.nodes"]

prepare_environment()
os.environ["LAB_OPEN_LOOPBACK"] = "0"
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "workspace.settings")
django.setup()
TransactionTestCase._fixture_teardown = remove_rows
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # the real one takes most of a test

# A database of its own for each run, so that two runs at once on one server do not meet
connections["default"].settings_dict["TEST"]["NAME"] = f"test_{os.getpid()}"


@pytest.fixture(scope="session", autouse=True)
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """The broker, one for the whole run: Celery keeps its connections to the first that a process names."""
    valkey = Valkey(tmp_path_factory.mktemp("valkey"))
    valkey.start()
    os.environ["CELERY_BROKER_URL"] = valkey.url
    yield valkey
    valkey.stop()


@pytest.fixture(scope="session")
def smollm_path() -> Path:
    """The folder of the default model, prepared as the server prepares it: once under `LAB_HOME`."""
    return resolve_model(None, LabHome.from_environment().root).path


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The meter and the admission use the test run's database, and let go before it is dropped."""
    from billing.meter import meter
    from inference.facts_reader import readers

    meter.folder = tmp_path_factory.mktemp("meter")
    yield
    meter.stop()
    for reader in readers.values():
        reader.disconnect()
