"""What Postgres knows of a request before it is routed: who asks, whether they have limits, and where it may run.

One statement answers for all requests that have come while the one before it ran, so that a busy server asks no more
often than Postgres answers, and each request still sees what was committed before it came. While Postgres is away,
requests without limits go by what was known of them last.
"""

import asyncio
import time
import uuid
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.models import BinaryField, Field, Model

from billing.meter import HAS_LIMITS
from inference.models import ComputeBackend, ManagedProvider
from inference.remembered import remembered
from workspace.errors import ApiError
from workspace.models import Adapter, AdapterState, ApiKey, ProviderCredential, Workspace

CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 10
TRY_AGAIN_S = 1
APPLICATION_NAME = "lab-workspace-admission"
NOT_OF_THE_SERVER = {"context", "cursor_factory", "prepare_threshold"}  # Django's for its own connections

# Adapters are those that a request may have named; a row of JSON is a row of its table.
READ = f"""
    WITH asked AS (
        SELECT id AS key_id, workspace_id FROM workspace_apikey WHERE prefix = ANY(%(prefixes)s)
        UNION ALL SELECT NULL, unnest(%(workspaces)s::uuid[])
    )
    SELECT
        row_to_json(w) AS workspace,
        row_to_json(k) AS api_key,
        {HAS_LIMITS} AS is_limited,
        (SELECT name FROM inference_entrynode WHERE api_key_id = k.id) AS entry_node,
        (SELECT json_agg(b ORDER BY b.created_at, b.id) FROM inference_computebackend b WHERE b.workspace_id = w.id)
            AS servers,
        (SELECT json_agg(c) FROM workspace_providercredential c WHERE c.workspace_id = w.id) AS credentials,
        (SELECT json_agg(m ORDER BY m.created_at) FROM inference_managedprovider m) AS managed,
        (
            SELECT json_agg(json_build_object(
                'row', a,
                'has_expired', coalesce(a.expires_at <= now(), false),
                'loaded_on', ARRAY(
                    SELECT backend FROM workspace_adapterplacement p WHERE p.adapter_id = a.id AND p.state = %(loaded)s
                )
            ))
            FROM workspace_adapter a WHERE a.workspace_id = w.id AND a.adapter_id = ANY(%(adapters)s)
        ) AS adapters
    FROM asked
    JOIN workspace_workspace w ON w.id = asked.workspace_id
    LEFT JOIN workspace_apikey k ON k.id = asked.key_id
"""

M = TypeVar("M", bound=Model)


@dataclass(frozen=True)
class KnownAdapter:
    """Attributes:
    loaded_on: the names of the backends that hold it.
    """

    adapter: Adapter
    has_expired: bool
    loaded_on: frozenset[str]


@dataclass(frozen=True)
class Facts:
    """Attributes:
    api_key: the key that was presented, whether or not it may still be used; None where none was asked for.
    is_limited: the workspace or the key has a limit, so that the request must be reserved for.
    entry_node: the node that the key was made for, if it was.
    adapters: those that the request may have named, by their names.
    is_old: Postgres is away, and this is what it said last.
    """

    workspace: Workspace
    api_key: ApiKey | None
    is_limited: bool
    entry_node: str | None
    servers: Sequence[ComputeBackend]
    credentials: Sequence[ProviderCredential]
    managed: Sequence[ManagedProvider]
    adapters: Mapping[str, KnownAdapter]
    is_old: bool = False

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Facts":
        workspace = restored(Workspace, row["workspace"])
        key = restored(ApiKey, row["api_key"]) if row["api_key"] else None
        if key is not None:
            key.workspace = workspace
        adapters = [known(found) for found in row["adapters"] or ()]
        return cls(
            workspace=workspace,
            api_key=key,
            is_limited=row["is_limited"] or (key is not None and key.credit_limit_pence is not None),
            entry_node=row["entry_node"],
            servers=[restored(ComputeBackend, server) for server in row["servers"] or ()],
            credentials=[restored(ProviderCredential, credential) for credential in row["credentials"] or ()],
            managed=[restored(ManagedProvider, provider) for provider in row["managed"] or ()],
            adapters={found.adapter.adapter_id: found for found in adapters},
        )


def known(found: Mapping[str, Any]) -> KnownAdapter:
    return KnownAdapter(restored(Adapter, found["row"]), found["has_expired"], frozenset(found["loaded_on"]))


def restored(model: type[M], row: Mapping[str, Any]) -> M:
    """A table's row from the JSON that Postgres makes of it."""
    fields = model._meta.concrete_fields
    return model.from_db(
        DEFAULT_DB_ALIAS, [field.attname for field in fields], [value_of(field, row[field.attname]) for field in fields]
    )


def value_of(field: "Field[Any, Any]", value: Any) -> Any:
    if isinstance(field, BinaryField):  # as Postgres writes it: \x and hex digits
        return None if value is None else bytes.fromhex(value[2:])
    return field.to_python(value)


@dataclass(frozen=True)
class Question:
    """For whom facts are asked: by the secret of an API key, or in a workspace that is known already."""

    secret: str | None
    workspace_id: uuid.UUID | None
    adapters: frozenset[str]

    @property
    def prefix(self) -> str | None:
        return None if self.secret is None else ApiKey.prefix_of(self.secret)

    def answer(self, found: Sequence[Facts]) -> Facts | None:
        if self.secret is None:
            of_no_key = (facts for facts in found if facts.api_key is None)
            return next((facts for facts in of_no_key if facts.workspace.pk == self.workspace_id), None)
        return next((facts for facts in found if facts.api_key and facts.api_key.is_of(self.secret)), None)


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
