"""The folder that holds all state (`LAB_HOME`), and what lies where in it."""

import os
import secrets
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet

PROJECT_ROOT = Path(__file__).resolve().parent.parent


class HomeUnusable(Exception):
    """`LAB_HOME` cannot be written; the message is one line for the person at the terminal."""


@dataclass(frozen=True)
class LabHome:
    root: Path

    @classmethod
    def from_environment(cls) -> "LabHome":
        """`LAB_HOME`, by default `var/` in the checkout."""
        return cls(Path(os.environ.get("LAB_HOME") or PROJECT_ROOT / "var").expanduser().resolve())

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def adapters(self) -> Path:
        """Adapter files by content hash; owned by the platform."""
        return self.root / "adapters"

    @property
    def spool(self) -> Path:
        """The meter's: intents of requests that run, and events while the database is away."""
        return self.root / "spool"

    @property
    def hypernetworks(self) -> Path:
        """Hypernetworks that were trained here."""
        return self.root / "hypernetworks"

    @property
    def imports(self) -> Path:
        """Where people may put adapter folders to register by `adapter_path`."""
        return self.root / "import"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def bootstrap_file(self) -> Path:
        return self.root / "bootstrap.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "serve.lock"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            HomeUnusable: the folder cannot be made or written.
        """
        try:
            for folder in (self.root, self.adapters, self.imports, self.logs):
                folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root):
                pass
        except OSError as error:
            raise HomeUnusable(
                f"LAB_HOME {self.root} cannot be written ({error.strerror}). Set LAB_HOME to a folder you own."
            ) from error

    def secret_key(self) -> str:
        """The signing key of this installation: made once, kept at mode 0600."""
        path = self.root / "secret_key"
        if not path.exists():
            self.prepare()
            write_private(path, secrets.token_urlsafe(48))
        return path.read_text().strip()

    def encryption_key(self) -> str:
        """The key that stored secrets are encrypted under: made once, kept at mode 0600."""
        path = self.root / "encryption_key"
        if not path.exists():
            self.prepare()
            keep_private(path, Fernet.generate_key().decode())
        return path.read_text().strip()


def keep_private(path: Path, text: str) -> None:
    """Write `text` to `path` (mode 0600) unless another process was first: what is there stays."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(temporary, path)
    os.unlink(temporary)


def write_private(path: Path, text: str) -> None:
    """Write `text` to `path` at once and readable by the owner only (mode 0600)."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
