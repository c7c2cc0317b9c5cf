"""What the OpenAPI description says of the ways to authenticate."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema


class BearerSecret(OpenApiAuthenticationExtension):
    target_class = "workspace.authentication.PrincipalAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key (`hyb_…`), or a CLI token (`stim_cli_…`) with `X-Business-Profile-Id`.",
        }


class BearerOfAnyWorkspace(BearerSecret):
    target_class = "workspace.authentication.CallerAuthentication"
    name = "bearer_of_any_workspace"
