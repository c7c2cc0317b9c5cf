"""How drf-spectacular reads this project's views."""

import re
from typing import Any, Literal

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiResponse

from workspace.openapi.refusals import Error, refusals

BODY_CODES = ("parse_error", "invalid_value", "missing_required_parameter")
AUTHENTICATION_CODES = ("missing_api_key", "invalid_api_key", "permission_denied", "workspace_forbidden")
ANY_OTHER = OpenApiResponse(Error, description="Any other refusal or fault, in the same envelope.")


class OperationSchema(AutoSchema):
    """Adds to each operation the refusals that its authentication, its body and its path bring with them."""

    def get_operation_id(self) -> str:
        words = re.findall(r"[A-Za-z0-9_]+", self.path.replace("-", "_"))
        return "_".join([*words, self.method.lower()])

    def get_tags(self) -> list[str]:
        """The word after the plane's prefix: `adapters` of `/v1/adapters/{adapter_id}/load`."""
        return re.findall(r"^/(?:api/)?v1/(?:hybrie/|inference/)?([a-z0-9-]+)", self.path)

    def _get_response_bodies(self, direction: Literal["request", "response"] = "response") -> dict[str, Any]:
        bodies = super()._get_response_bodies(direction)
        for status, response in self.usual_refusals().items():
            usual = self._get_response_for_code(response, str(status))
            bodies[str(status)] = merged(bodies.get(str(status)), usual)
        bodies["default"] = self._get_response_for_code(ANY_OTHER, "default")
        return bodies

    def usual_refusals(self) -> dict[int, OpenApiResponse]:
        codes: list[str] = []
        if self.method in {"POST", "PUT", "PATCH"} and self.get_request_serializer() is not None:
            codes += BODY_CODES
        elif self.get_override_parameters():
            codes.append("invalid_value")
        if self.get_auth():
            codes += AUTHENTICATION_CODES
        if "{" in self.path:
            codes.append("not_found")
        return refusals(*codes)


def merged(declared: dict[str, Any] | None, usual: dict[str, Any]) -> dict[str, Any]:
    """The response that a view declares for a status, and what is usual for it."""
    if declared is None:
        return usual
    content, added = declared["content"]["application/json"], usual["content"]["application/json"]
    if content["schema"] != added["schema"]:
        return declared
    examples = {**added.get("examples", {}), **content.get("examples", {})}
    return {
        "content": {"application/json": {"schema": content["schema"], "examples": examples}},
        "description": "\n".join([usual["description"], declared["description"]]),
    }
