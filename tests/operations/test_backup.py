"""A backup of a running server, and its restore into a new LAB_HOME."""

import tarfile
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.startup.conftest import start_server
from workspace.backup import BackupFailed, back_up, extract, restore
from workspace.embedded import start_postgres
from workspace.home import LabHome

CHAT = {"model": "smollm2-135m-instruct", "max_tokens": 4, "messages": [{"role": "user", "content": "Hello"}]}
LEDGER = ("billing_usageevent", "billing_hourlyusage", "billing_dailyusage", "billing_spend")
RECORDS = (
    "workspace_workspace",
    "workspace_user",
    "workspace_apikey",
    "workspace_adapter",
    "inference_adapterplacement",
)


def rows(database_url: str) -> dict[str, list[tuple[Any, ...]]]:
    with psycopg.connect(database_url) as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            if name in {*LEDGER, *RECORDS}
        ]
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3").fetchall() for table in tables}


def test_a_restored_installation_has_the_same_ledger_keys_and_adapters(smollm_path: Path, tmp_path: Path) -> None:
    old, new, file = LabHome(tmp_path / "old"), LabHome(tmp_path / "new"), tmp_path / "lab.tar"
    server = start_server(old.root, smollm_path, LAB_RUN_WORKERS="0").wait_until_up()
    for number in range(3):
        httpx.post(f"{server.url}/v1/chat/completions", json=CHAT | {"seed": number}, timeout=60).raise_for_status()
    old_database = start_postgres(old.postgres)
    back_up(old, old_database, file)
    assert file.stat().st_mode & 0o777 == 0o600
    before = rows(old_database)
    assert server.stop()[0] == 0

    new.prepare()
    new_database = start_postgres(new.postgres)
    restore(new, new_database, file)
    after = rows(new_database)
    assert set(LEDGER) <= set(after)
    assert len(after["billing_usageevent"]) == 3
    assert after == before
    for name in ("secret_key", "bootstrap.json"):
        assert (new.root / name).read_text() == (old.root / name).read_text()
    assert [file.name for file in new.adapters.iterdir()] == [file.name for file in old.adapters.iterdir()]

    with pytest.raises(BackupFailed, match="not empty"):
        restore(new, new_database, file)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../outside", tarfile.REGTYPE),
        ("/outside", tarfile.REGTYPE),
        ("link", tarfile.SYMTYPE),
        ("pipe", tarfile.FIFOTYPE),
    ],
)
def test_an_archive_that_reaches_outside_its_folder_is_refused(name: str, kind: bytes, tmp_path: Path) -> None:
    source, folder = tmp_path / "strange.tar", tmp_path / "folder"
    folder.mkdir()
    with tarfile.open(source, "w") as archive:
        for each, of_kind in (("first", tarfile.REGTYPE), (name, kind)):
            member = tarfile.TarInfo(each)
            member.type, member.linkname = of_kind, "/etc/passwd"
            archive.addfile(member)
    with tarfile.open(source) as archive, pytest.raises(BackupFailed, match="no file within a folder"):
        extract(archive, folder)
    assert not list(folder.iterdir())
