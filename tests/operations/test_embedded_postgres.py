"""The embedded Postgres, started where another start has just been or is still being undone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from benchmarks.meter_faults import START_POSTGRES
from workspace.embedded import is_under_way, start_postgres
from workspace.home import PROJECT_ROOT


def test_one_that_is_shutting_down_is_waited_for(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    address = start_postgres(folder)
    with psycopg.connect(address):  # keeps it from ending
        os.kill(int((folder / "postmaster.pid").read_text().split()[0]), signal.SIGTERM)
        while not is_under_way(folder):
            time.sleep(0.01)
        starting = subprocess.Popen([sys.executable, "-c", START_POSTGRES, folder], cwd=PROJECT_ROOT)
        with pytest.raises(subprocess.TimeoutExpired):
            starting.wait(1)
    assert starting.wait(60) == 0
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_file_that_a_dead_one_left_says_nothing(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    (tmp_path / "postmaster.pid").write_text(f"{ended.pid}\n" + "\n" * 6 + "stopping\n")
    assert not is_under_way(tmp_path)
