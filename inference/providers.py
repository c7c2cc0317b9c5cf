"""Which cloud provider a request would go to, under whose key, and what the model is called there."""

import asyncio
import time
from dataclasses import dataclass

import httpx

from inference.backends.cloud import CloudBackend
from inference.backends.compute import rows_of
from inference.backends.transport import calls_to
from inference.facts import Facts
from inference.models import ManagedProvider
from workspace.errors import ApiError, invalid
from workspace.models import ProviderCredential
from workspace.providers import PROVIDERS

HEADER = "x-hybrie-cloud-provider"
LISTED_FOR_S = 600.0
FAILED_FOR_S = 30.0
LIST_TIMEOUT_S = 5.0
STANDING = ("valid", "pending", "unreachable", "invalid")


@dataclass(frozen=True)
class CloudTarget:
    backend: CloudBackend
    model: str


async def cloud_target(
    facts: Facts, model: str, mode: str | None, provider: str | None, ours: bool
) -> CloudTarget | None:
    """The provider for the cloud part of a request; None: it has none.

    In order: the provider that is named, the one in `provider/model`, one whose key lists the model, and, where the
    mode asks for a cloud, the workspace's key of the best standing, then the operator's.

    Args:
        mode: as the caller gave it, or None.
        ours: the model is served by compute of the workspace's own.

    Raises:
        ApiError: 400 `provider_not_configured` or `invalid_value`.
    """
    prefix, bare = (None, model) if ours else split(model)
    if provider is not None and prefix not in (None, provider):
        raise invalid(HEADER, f"The model names the provider {prefix!r}, the header {provider!r}.")
    named = provider or prefix
    backend = backend_of(facts, named, HEADER if provider else "model") if named else None
    if mode == "local":
        return None
    if backend is None and not ours:
        backend = await lister(facts, model)
    if backend is None and mode is not None:
        backend = default(facts)
        if backend is None and mode == "cloud":
            raise not_configured("", HEADER)
    return CloudTarget(backend, bare) if backend else None


def split(model: str) -> tuple[str | None, str]:
    """`provider/model` in its parts, if the first is a provider's name."""
    prefix, slash, bare = model.partition("/")
    return (prefix, bare) if slash and bare and prefix in PROVIDERS else (None, model)


def backend_of(facts: Facts, provider: str, param: str) -> CloudBackend:
    found = [key for key in keys(facts) if key.provider == provider]
    if not found:
        raise not_configured(provider, param)
    return CloudBackend(found[0])


def default(facts: Facts) -> CloudBackend | None:
    found = next(iter(keys(facts)), None)
    return CloudBackend(found) if found else None


def keys(facts: Facts) -> list[ProviderCredential | ManagedProvider]:
    """The workspace's keys in their order, then the operator's, the oldest first."""
    return [*credentials(facts), *facts.managed]


def credentials(facts: Facts) -> list[ProviderCredential]:
    """The workspace's keys, those of the best standing first, the oldest first among equals."""
    return sorted(facts.credentials, key=lambda credential: (STANDING.index(credential.status), credential.created_at))


def not_configured(provider: str, param: str) -> ApiError:
    which = f" {provider!r}" if provider else ""
    message = f"This workspace has no credential for a cloud provider{which}; add one under /api/v1/workspace/byok."
    return ApiError(400, "provider_not_configured", message, param)


async def lister(facts: Facts, model: str) -> CloudBackend | None:
    """A key of the workspace whose provider lists the model."""
    for credential in credentials(facts):
        if model in await listed.get(credential):
            return CloudBackend(credential)
    return None


class ListedModels:
    """What each key's provider lists, asked anew after `LISTED_FOR_S` seconds."""

    def __init__(self) -> None:
        self.known: dict[tuple[object, bytes], tuple[float, frozenset[str]]] = {}

    async def get(self, credential: ProviderCredential) -> frozenset[str]:
        """Empty while the provider cannot be asked."""
        key = (credential.pk, bytes(credential.encrypted_secret))
        until, models = self.known.get(key, (0.0, frozenset()))
        if time.monotonic() >= until:
            until, models = await asyncio.to_thread(self.ask, credential)
            self.known[key] = (until, models)
        return models

    def ask(self, credential: ProviderCredential) -> tuple[float, frozenset[str]]:
        try:
            server = CloudBackend(credential).server()
            with calls_to(server.base_url, dict(server.headers), LIST_TIMEOUT_S) as http:
                rows = rows_of(http.get("models").raise_for_status().json())
        except (httpx.HTTPError, ApiError, ValueError):
            return time.monotonic() + FAILED_FOR_S, frozenset()
        return time.monotonic() + LISTED_FOR_S, frozenset(row["id"] for row in rows)


listed = ListedModels()
