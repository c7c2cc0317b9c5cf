"""Which server, and as whom: options, then the environment, then what `lab login` has kept."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from workspace.cli.failure import Exit, Failure

DEFAULT_SERVER = "http://localhost:8080"


@dataclass(frozen=True)
class Target:
    """A server's address, an API key or CLI token for it, and where that is from."""

    server: str
    secret: str | None
    source: str


def folder() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "lab"


def kept_file() -> Path:
    return folder() / "login.json"


def home() -> Path:
    """`LAB_HOME`, for a server on this machine."""
    return Path(os.environ.get("LAB_HOME") or "var").expanduser()


def target(server: str | None, key: str | None) -> Target:
    """Raises Failure where what was kept cannot be read."""
    kept = read(kept_file())
    address = (server or os.environ.get("LAB_SERVER") or kept.get("server") or DEFAULT_SERVER).rstrip("/")
    if key:
        return Target(address, key, "--key")
    if os.environ.get("LAB_API_KEY"):
        return Target(address, os.environ["LAB_API_KEY"], "LAB_API_KEY")
    if kept.get("token") and kept.get("server") == address:
        return Target(address, kept["token"], str(kept_file()))
    first = read(home() / "bootstrap.json")
    if first.get("cli_token") and address == DEFAULT_SERVER:
        return Target(address, first["cli_token"], str(home() / "bootstrap.json"))
    return Target(address, None, "none")


def keep(server: str, token: str) -> None:
    """Write the login to a file that only its owner can read."""
    folder().mkdir(parents=True, exist_ok=True)
    descriptor = os.open(kept_file(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump({"server": server.rstrip("/"), "token": token}, file)


def forget() -> bool:
    """Remove what was kept; False: there was nothing."""
    there = kept_file().exists()
    kept_file().unlink(missing_ok=True)
    return there


def read(path: Path) -> dict[str, str]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Failure(f"{path} cannot be read: {error}.", Exit.USAGE) from error
