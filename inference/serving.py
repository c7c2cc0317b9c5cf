"""Start-up and shutdown of a server: what `manage.py serve` does, in order."""

import asyncio
import fcntl
import gc
import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from typing import IO

import psutil
import psycopg
import uvicorn
from django.conf import settings
from django.core.management import call_command
from django.db import connections
from rich.console import Console

from billing.meter import MeterInUse, meter
from billing.spool import SpoolDamaged
from inference import adapters, examples
from inference.backends.streams import connections as upstreams
from inference.engine.errors import EngineError
from inference.housekeeping import Housekeeping
from inference.model_files import ModelFolder, ModelUnavailable, resolve_model
from inference.rpc.server import RpcServer
from inference.runtime import engine_config, runtime
from workspace.bootstrap import ensure_first_workspace
from workspace.embedded import ServiceUnavailable, Valkey
from workspace.live import feed
from workspace.models import Workspace
from workspace.tracing import tracing

DRAIN_S = 60
CHILD_STOP_S = 20
SWITCH_S = 0.001  # the meter's threads would wait for 5 ms after each answer of the disk and of Postgres
YOUNG_OBJECTS = 50_000  # between collections; Python's 700 are gone through several times in each request
NICENESS = 10  # of the workers: a tenth of the processor time of what serves, where both want it
WORKER = ("--concurrency=2", "--without-gossip", "--without-mingle")

console = Console(highlight=False, quiet=settings.LAB_LOG_FORMAT == "json")
logger = logging.getLogger(__name__)


class Refusal(Exception):
    """A reason not to start; one line for the person at the terminal."""


class HttpServer(uvicorn.Server):
    """Lets the pages go that would listen for as long as they are open."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        feed.end()
        await super().shutdown(sockets)


class Server:
    """Owns everything `serve` starts; what was started is stopped in reverse order, however it ends."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.fault: str | None = None

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM.

        Raises:
            Refusal: something that it needs is missing.
        """
        with self.stack:
            tracing.start()
            self.stack.callback(tracing.stop)
            self.lock_home()
            listener = self.listen()
            self.prepare_database()
            first_start = ensure_first_workspace(settings.HOME)
            self.start_meter()
            model = self.prepare_model()
            self.start_broker()
            self.serve(listener, model, first_start)
        if self.fault:
            raise Refusal(self.fault)

    def lock_home(self) -> None:
        """One server for one LAB_HOME. The lock goes with the process, so a killed one leaves none."""
        file = self.stack.enter_context(settings.HOME.lock_file.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refusal(f"another server runs on LAB_HOME {settings.HOME.root}; stop it first.") from None

    def listen(self) -> socket.socket:
        self.bind(settings.LAB_GRPC_PORT, "LAB_GRPC_PORT").close()  # gRPC binds it itself, later
        listener = self.stack.enter_context(self.bind(settings.LAB_PORT, "LAB_PORT"))
        listener.listen(2048)
        return listener

    def bind(self, port: int, setting: str) -> socket.socket:
        host = settings.LAB_HOST
        try:
            family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as error:
            raise Refusal(
                f"cannot listen on {host}:{port} ({error.strerror}); set LAB_HOST or {setting} to a free address."
            ) from None
        return listener

    def prepare_database(self) -> None:
        parameters = connections["default"].get_connection_params()
        parameters = {
            key: value
            for key, value in parameters.items()
            if key in {"host", "port", "user", "password", "dbname", "sslmode"}
        }
        try:
            psycopg.connect(**parameters, connect_timeout=5).close()
        except psycopg.Error as error:
            raise Refusal(f"DATABASE_URL cannot be reached: {str(error).splitlines()[0]}") from None
        call_command("migrate", interactive=False, verbosity=0)

    def start_meter(self) -> None:
        try:
            aborted = meter.start()
        except (MeterInUse, SpoolDamaged) as error:
            raise Refusal(str(error)) from None
        self.stack.callback(meter.stop)
        if aborted:
            console.print(f"{aborted} requests were running when the last server ended; billed as aborted.")

    def prepare_model(self) -> ModelFolder:
        try:
            model = resolve_model(settings.LAB_MODEL, settings.HOME.root, console)
        except ModelUnavailable as error:
            raise Refusal(str(error)) from None
        runtime.name_model(settings.LAB_SERVED_MODEL_NAME or model.served_name, settings.LAB_MODEL_ALIASES)
        return model

    def start_broker(self) -> None:
        if settings.CELERY_BROKER_URL:
            return
        valkey = Valkey(settings.HOME.valkey)
        try:
            valkey.start()
        except ServiceUnavailable as error:
            raise Refusal(str(error)) from None
        self.stack.callback(valkey.stop)
        os.environ["CELERY_BROKER_URL"] = valkey.url

    def start_workers(self) -> None:
        """Celery's worker and beat, unless they run elsewhere."""
        if not settings.LAB_RUN_WORKERS:
            return
        for name, arguments in {
            "worker": ["worker", *WORKER],
            "long-worker": ["worker", *WORKER, "--queues=long", "--hostname=long@%h"],
            "beat": ["beat", f"--schedule={settings.HOME.root / 'beat-schedule'}", "--pidfile="],
        }.items():
            log = self.stack.enter_context((settings.HOME.logs / f"{name}.log").open("ab"))
            process = start_celery(arguments, log)
            self.stack.callback(end_group if name == "long-worker" else stop_child, process)

    def serve(self, listener: socket.socket, model: ModelFolder, first_start: bool) -> None:
        config = uvicorn.Config(
            "workspace.asgi:application",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
        )
        server = HttpServer(config)
        starter = threading.Thread(
            target=self.start_engine, args=(server, model, first_start), name="start-engine", daemon=True
        )
        starter.start()
        sys.setswitchinterval(SWITCH_S)
        with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(self.serve_both(server, listener))
        logger.info("running requests have finished; stopping")
        console.print("Stopping: running requests have finished; ending the workers.")
        runtime.drain(DRAIN_S)

    async def serve_both(self, server: uvicorn.Server, listener: socket.socket) -> None:
        """HTTP and gRPC on one event loop."""
        try:
            rpc = RpcServer(settings.LAB_HOST, settings.LAB_GRPC_PORT)
        except OSError:
            self.fault = f"cannot listen on {settings.LAB_HOST}:{settings.LAB_GRPC_PORT} for gRPC; set LAB_GRPC_PORT."
            return
        await rpc.start()
        try:
            await server.serve(sockets=[listener])
        finally:
            await rpc.stop(DRAIN_S)
            await upstreams.close()

    def start_engine(self, server: uvicorn.Server, model: ModelFolder, first_start: bool) -> None:
        """Load the model while HTTP already answers `/v1/health` with 503; open for requests when it is there.

        The workers start last: beside it their start would make that of the model a fifth longer.
        """
        try:
            runtime.start(engine_config(model.path), adapters.note_eviction)
            if first_start and (workspace := Workspace.first()):
                examples.register_example(workspace)
            adapters.restore()
        except EngineError as error:
            self.fault = f"the model in {model.path} cannot be served: {error}"
            server.should_exit = True
            return
        finally:
            connections.close_all()
        housekeeping = Housekeeping()
        housekeeping.start()
        self.stack.callback(housekeeping.stop)
        gc.collect()
        gc.freeze()  # what is loaded stays: without it a full collection stops every stream for a while
        gc.set_threshold(YOUNG_OBJECTS)
        if server.should_exit:
            return
        self.start_workers()
        runtime.open()
        logger.info("serving %s on port %d", runtime.model_name, settings.LAB_PORT)
        greet()


def start_celery(arguments: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A Celery process that outlives a Ctrl-C, so that it is stopped in order, but not this process.

    It gives way to this one: a step of the engine waits for the slower of its threads. Linux weighs niceness only
    within a session (sched(7), autogroups), so it stays in this one's, in a process group of its own.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "workspace", *arguments, "--loglevel=info"],
        cwd=settings.BASE_DIR,
        env={**os.environ, "LAB_SERVER_PID": str(os.getpid())},
        stdout=log,
        stderr=subprocess.STDOUT,
        process_group=0,
    )
    psutil.Process(process.pid).nice(NICENESS)
    return process


def stop_child(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(CHILD_STOP_S)
    except subprocess.TimeoutExpired:
        end_group(process)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End it and its children at once: what they are at is taken up again by others, or later."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def greet() -> None:
    """Where to go next."""
    host = "localhost" if settings.BOUND_TO_LOOPBACK else settings.LAB_HOST
    here = f"http://{host}:{settings.LAB_PORT}"
    key = "" if settings.LAB_OPEN_LOOPBACK else ' -H "Authorization: Bearer $API_KEY"'
    question = {"role": "user", "content": "What is our refund policy?"}
    body = json.dumps({"model": runtime.model_name, "messages": [question]})
    console.print(
        f"""
[bold]Lab Workspace[/bold] serves [bold]{runtime.model_name}[/bold] at {here}
  Dashboard  {here}/
  Admin      {here}/admin/   (sign-in: {settings.HOME.bootstrap_file})
  API docs   {here}/api/docs/
  Load an adapter and ask it:
    curl -X POST {here}/v1/adapters/{examples.EXAMPLE_ID}/load{key}
    curl {here}/v1/chat/completions{key} -H "Content-Type: application/json" \\
      -H "x-hybrie-adapter-id: {examples.EXAMPLE_ID}" \\
      -d {shlex.quote(body)}
Ctrl-C stops it.""",
        soft_wrap=True,
    )
