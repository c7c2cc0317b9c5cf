"""Reads the facts of requests from Postgres.

One statement answers for all requests that have come while the one before it ran, so that a busy server asks no more
often than Postgres answers, and each request still sees what was committed before it came. While Postgres is away,
requests without limits go by what was known of them last.
"""

import asyncio
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

from inference.facts import READ, Facts, Question
from inference.remembered import remembered
from workspace.errors import ApiError
from workspace.models import AdapterState, Workspace

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 10
TRY_AGAIN_S = 1
APPLICATION_NAME = "lab-workspace-admission"
NOT_OF_THE_SERVER = {"context", "cursor_factory", "prepare_threshold"}  # Django's for its own connections

Waiting = Sequence[tuple[Question, "asyncio.Future[Facts | None]"]]


class FactsReader:
    """The one connection of an event loop that reads facts."""

    def __init__(self) -> None:
        self.connection: psycopg.AsyncConnection[dict[str, Any]] | None = None
        self.waiting: list[tuple[Question, asyncio.Future[Facts | None]]] = []
        self.reading: asyncio.Task[None] | None = None
        self.try_again_at = 0.0

    async def read(self, question: Question) -> Facts | None:
        """
        Raises:
            ApiError: 503 `limits_unavailable` while Postgres is away, unless it was asked the same before and the
                request has no limits.
        """
        answered: asyncio.Future[Facts | None] = asyncio.get_running_loop().create_future()
        self.waiting.append((question, answered))
        if self.reading is None:
            self.reading = asyncio.ensure_future(self.read_for_those_who_wait())
        return await answered

    async def read_for_those_who_wait(self) -> None:
        try:
            while self.waiting:
                asked, self.waiting = self.waiting, []
                try:
                    await self.answer(asked)
                except Exception as fault:  # a fault of ours, which those who wait must hear of
                    refuse(asked, fault)
        finally:
            self.reading = None

    async def answer(self, asked: Waiting) -> None:
        error: Exception | None = None
        if time.monotonic() >= self.try_again_at:
            try:
                found = await self.ask([question for question, _ in asked])
                return answer_from(found, asked)
            except (psycopg.Error, OSError) as failure:  # a timeout is an OSError
                error = failure
                self.disconnect()
                self.try_again_at = time.monotonic() + TRY_AGAIN_S
        return answer_from_memory(asked, error)

    async def ask(self, questions: Sequence[Question]) -> list[Facts]:
        prefixes = {question.prefix for question in questions} - {None}
        workspaces = {question.workspace_id for question in questions} - {None}
        parameters = {
            "prefixes": list(prefixes),
            "workspaces": list(workspaces),
            "adapters": list(frozenset().union(*(question.adapters for question in questions))),
            "loaded": AdapterState.LOADED.value,
        }
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            return [Facts.from_row(row) for row in await self.execute(parameters)]

    async def execute(self, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Once more over a new connection if the one that was open has been lost, as by a restart of Postgres."""
        if self.connection is not None:
            try:
                return await rows(self.connection, parameters)
            except (psycopg.OperationalError, psycopg.InterfaceError):
                self.disconnect()
        self.connection = await connect()
        return await rows(self.connection, parameters)

    def disconnect(self) -> None:
        if self.connection is not None:
            self.connection.pgconn.finish()
            self.connection = None


async def rows(connection: "psycopg.AsyncConnection[dict[str, Any]]", parameters: Mapping[str, Any]) -> list[Any]:
    cursor = await connection.execute(READ, parameters, prepare=True)
    return await cursor.fetchall()


async def connect() -> "psycopg.AsyncConnection[dict[str, Any]]":
    settings = connections[DEFAULT_DB_ALIAS].get_connection_params()
    parameters = {name: value for name, value in settings.items() if name not in NOT_OF_THE_SERVER}
    connection = await psycopg.AsyncConnection.connect(
        **parameters,
        autocommit=True,
        row_factory=psycopg.rows.dict_row,
        connect_timeout=CONNECT_TIMEOUT_S,
        application_name=APPLICATION_NAME,
    )
    await connection.execute("SET plan_cache_mode = force_generic_plan")  # to plan takes longer than to answer
    return connection


def answer_from(found: Sequence[Facts], asked: Waiting) -> None:
    for question, answered in asked:
        facts = question.answer(found)
        remembered.keep(question, facts)
        if not answered.done():  # its request may have been cancelled
            answered.set_result(facts)


def answer_from_memory(asked: Waiting, error: Exception | None) -> None:
    for question, answered in asked:
        if answered.done():
            continue
        facts = remembered.recall(question)
        if facts is None:
            answered.set_exception(away(error))
        else:
            answered.set_result(replace(facts, is_old=True))


def refuse(asked: Waiting, fault: Exception) -> None:
    for _, answered in asked:
        if not answered.done():
            answered.set_exception(fault)


def away(error: Exception | None) -> ApiError:
    refusal = ApiError(
        503, "limits_unavailable", "Limits cannot be checked now; try again.", headers={"Retry-After": "2"}
    )
    refusal.__cause__ = error
    return refusal


readers: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, FactsReader]" = weakref.WeakKeyDictionary()


def reader() -> FactsReader:
    return readers.setdefault(asyncio.get_running_loop(), FactsReader())


async def facts_of_key(secret: str, adapters: frozenset[str]) -> Facts | None:
    """The facts for who presents this API key; None if there is no such key.

    Args:
        adapters: the names of adapters that the request may be for.

    Raises:
        ApiError: as `FactsReader.read`.
    """
    return await reader().read(Question(secret, None, adapters))


async def facts_in(workspace: Workspace, adapters: frozenset[str]) -> Facts:
    """The facts for who acts in this workspace without an API key.

    Raises:
        ApiError: as `FactsReader.read`; 403 `workspace_forbidden` if the workspace has just been removed.
    """
    facts = await reader().read(Question(None, workspace.pk, adapters))
    if facts is None:
        raise ApiError(403, "workspace_forbidden", "This workspace is gone.")
    return facts
