"""The error envelope in the description: one schema, and a documented answer for each code of an operation."""

from collections import defaultdict
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse
from rest_framework import serializers

from workspace.error_codes import ERROR_CODES
from workspace.errors import ApiError


class ErrorDetail(serializers.Serializer[Any]):
    message = serializers.CharField(help_text="For people: names the field and says what would be accepted.")
    type = serializers.CharField(help_text="The OpenAI API's word for the kind of error.")
    code = serializers.RegexField(r"^[a-z0-9_]+$", help_text="For programs: stable.")
    param = serializers.CharField(allow_null=True, help_text="The field at fault, if there is one.")


class Error(serializers.Serializer[Any]):
    error = ErrorDetail()


def refusals(*codes: str) -> dict[int, OpenApiResponse]:
    """Responses for `extend_schema`: how an operation refuses, by status, with an example for each code."""
    of_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        of_status[ERROR_CODES[code].status].append(code)
    return {status: answer(status, coded) for status, coded in sorted(of_status.items())}


def answer(status: int, codes: list[str]) -> OpenApiResponse:
    meanings = {code: ERROR_CODES[code].meaning for code in codes}
    return OpenApiResponse(
        Error,
        description="\n".join(f"- `{code}`: {meaning}" for code, meaning in meanings.items()),
        examples=[
            OpenApiExample(code, value=ApiError(status, code, meaning).to_dict()) for code, meaning in meanings.items()
        ],
    )
