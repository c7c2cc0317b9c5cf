"""The cloud providers a workspace may bring its own key for, all spoken to in the OpenAI shape."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

import httpx
from django.db import IntegrityError, transaction

from workspace.encryption import SecretUnreadable
from workspace.errors import ApiError, invalid
from workspace.models import ProviderCredential
from workspace.outbound import AddressRefused, AddressUnknown, destination

VERIFY_TIMEOUT_S = 10.0
Headers = dict[str, str]


def bearer(secret: str) -> Headers:
    return {"Authorization": f"Bearer {secret}"}


def anthropic(secret: str) -> Headers:
    return {"x-api-key": secret, "anthropic-version": "2023-06-01"}


def azure(secret: str) -> Headers:
    return {"api-key": secret}


@dataclass(frozen=True)
class Provider:
    """`base_url` None: each customer has an address of their own, which the credential must name."""

    base_url: str | None
    authorize: Callable[[str], Headers] = bearer


PROVIDERS = {
    "openai": Provider("https://api.openai.com/v1"),
    "anthropic": Provider("https://api.anthropic.com/v1", anthropic),
    "google_gemini": Provider("https://generativelanguage.googleapis.com/v1beta/openai"),
    "mistral": Provider("https://api.mistral.ai/v1"),
    "together_ai": Provider("https://api.together.xyz/v1"),
    "nebius": Provider("https://api.tokenfactory.nebius.com/v1"),
    "azure_openai": Provider(None, azure),
    "aws_bedrock": Provider("https://bedrock-mantle.us-east-1.api.aws/v1"),
    "custom": Provider(None),
}


def base_url_of(credential: ProviderCredential) -> str:
    """The credential's own base URL, or its provider's."""
    return credential.base_url or PROVIDERS[credential.provider].base_url or ""


def store(credential: ProviderCredential) -> None:
    """Keep a new one, its secret encrypted.

    Raises:
        ApiError: 400 for a base URL that this server would not connect to; 409 `credential_exists`.
    """
    check_address(credential)
    try:
        with transaction.atomic():
            credential.save()
    except IntegrityError:
        raise ApiError(
            409,
            "credential_exists",
            f"There is a {credential.provider} credential with this label already; remove it or choose another.",
            "label",
        ) from None


def check_address(credential: ProviderCredential) -> None:
    """Refuse a base URL that this server would not connect to. One that does not resolve now may later."""
    if not base_url_of(credential):
        raise invalid(
            "base_url",
            "base_url: this provider has an address for each customer; give yours, "
            "such as https://NAME.openai.azure.com/openai/v1.",
            "missing_required_parameter",
        )
    try:
        destination(base_url_of(credential))
    except AddressRefused as error:
        raise invalid("base_url", f"base_url: {error}", "address_refused") from None
    except AddressUnknown:
        return


def verify(credential: ProviderCredential) -> None:
    """Ask the provider for its models with the key, and keep what that says of the key."""
    credential.note_verdict(*verdict(credential))


def verdict(credential: ProviderCredential) -> tuple[ProviderCredential.Status, str]:
    """Whether the provider takes the key, and if not, why. What the provider wrote is not repeated."""
    status = ProviderCredential.Status
    try:
        headers = PROVIDERS[credential.provider].authorize(credential.secret)
        answer = destination(base_url_of(credential)).get("models", headers, VERIFY_TIMEOUT_S)
    except SecretUnreadable as error:
        return status.INVALID, str(error)
    except (AddressRefused, AddressUnknown) as error:
        return status.UNREACHABLE, str(error)
    except httpx.TimeoutException:
        return status.UNREACHABLE, f"The provider did not answer within {VERIFY_TIMEOUT_S:.0f} s."
    except httpx.HTTPError as error:
        return status.UNREACHABLE, f"The provider could not be reached ({type(error).__name__})."
    is_json = answer.headers.get("content-type", "").startswith("application/json")
    if answer.status_code == HTTPStatus.OK and is_json:
        return status.VALID, ""
    if answer.status_code in {HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return status.INVALID, f"The provider refused the key (HTTP {answer.status_code})."
    return status.UNREACHABLE, f"The provider did not list its models (HTTP {answer.status_code})."
