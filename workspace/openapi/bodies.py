"""Request bodies in the description."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema


class StrictBody(OpenApiSerializerExtension):
    """A body that refuses fields it does not know."""

    target_class = "workspace.strict.StrictFields"
    match_subclasses = True

    def map_serializer(self, auto_schema: AutoSchema, direction: str) -> dict[str, Any]:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        if type(self.target).__doc__ is None:
            schema.pop("description", None)  # drf-spectacular falls back to the base class's docstring
        return schema if self.target.ignores_unknown else {**schema, "additionalProperties": False}
