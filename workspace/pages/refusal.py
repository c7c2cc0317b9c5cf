"""Forms that say the same as an endpoint of the API: read by its serializer, refused with its words and codes."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework.exceptions import ValidationError

from workspace.errors import ApiError, from_validation
from workspace.strict import StrictSerializer


def read_form(serializer: type[StrictSerializer], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The validated fields of a form, as the API's serializer for the same call takes them.

    Raises:
        ApiError: as the API would answer.
    """
    form = serializer(data=dict(fields))
    form.is_form = True
    try:
        form.is_valid(raise_exception=True)
    except ValidationError as error:
        raise from_validation(error) from None
    return form.validated_data


@dataclass(frozen=True)
class Refusal:
    """What went wrong with a form, and beside which of its fields it is said.

    Attributes:
        fields: the names of the form's fields.
    """

    error: ApiError
    fields: Collection[str]

    @property
    def field(self) -> str:
        """Empty for a problem of the form as a whole."""
        param = self.error.param or ""
        return param if param in self.fields else ""

    @property
    def message(self) -> str:
        return self.error.message.removeprefix(f"{self.error.param}: ")

    @property
    def code(self) -> str:
        return self.error.code
