"""What Postgres knows of a request before it is routed: who asks, whether they have limits, and where it may run."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS
from django.db.models import BinaryField, Field, Model

from billing.meter import HAS_LIMITS
from inference.models import ComputeBackend, ManagedProvider
from workspace.models import Adapter, ApiKey, ProviderCredential, Workspace

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
