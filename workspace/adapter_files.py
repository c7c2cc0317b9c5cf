"""Adapter files on disk: a folder per content, named by its hash, written at once or not at all."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)
CHUNK_BYTES = 1 << 20
STAGING = ".staging-"


@dataclass(frozen=True)
class StoredFiles:
    content_hash: str
    checksum_sha256: str
    size_bytes: int


class AdapterFiles:
    """The store under `LAB_HOME/adapters`. Equal contents share one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def folder(self, content_hash: str) -> Path:
        return self.root / content_hash

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A temporary folder on the store's file system, gone afterwards."""
        self.root.mkdir(parents=True, exist_ok=True)
        path = Path(tempfile.mkdtemp(dir=self.root, prefix=STAGING))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def store(self, source: Path) -> StoredFiles:
        """Copy the two PEFT files of `source` into the store.

        Raises:
            OSError: a file is missing, or the disk is full; nothing is left behind.
        """
        with self.staging() as staging:
            digests = {name: copy_and_hash(source / name, staging / name) for name in FILES}
            content = hashlib.sha256("".join(f"{name}:{digests[name]}\n" for name in FILES).encode())
            target = self.folder(content.hexdigest())
            size = sum((staging / name).stat().st_size for name in FILES)
            if not target.exists():
                try:
                    staging.rename(target)
                except OSError:
                    if not target.exists():  # another upload of the same content may have been first
                        raise
                sync_folder(self.root)
        return StoredFiles(content.hexdigest(), digests[WEIGHTS], size)

    def older_than(self, age: timedelta) -> list[str]:
        """The contents that were stored so long ago, or earlier."""
        if not self.root.exists():
            return []
        folders = [folder for folder in self.root.iterdir() if not folder.name.startswith(".")]
        return [folder.name for folder in folders if is_older(folder, age)]

    def sweep_unfinished(self, age: timedelta) -> None:
        """Remove the staging folders of processes that died."""
        for folder in self.root.glob(f"{STAGING}*"):
            if is_older(folder, age):
                shutil.rmtree(folder, ignore_errors=True)

    def remove(self, content_hash: str) -> None:
        shutil.rmtree(self.folder(content_hash), ignore_errors=True)


def is_older(folder: Path, age: timedelta) -> bool:
    try:
        return time.time() - folder.stat().st_mtime > age.total_seconds()
    except FileNotFoundError:
        return False


def copy_and_hash(source: Path, target: Path) -> str:
    """Copy a file durably; return the SHA-256 of its bytes in hex."""
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("wb") as writer:
        while block := reader.read(CHUNK_BYTES):
            digest.update(block)
            writer.write(block)
        writer.flush()
        os.fsync(writer.fileno())
    return digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
