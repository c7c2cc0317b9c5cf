"""OpenAPI links: what may be done with a record that was just made."""

from collections.abc import Iterator
from typing import Any

Description = dict[str, Any]


def link_created(result: Description, **_: Any) -> Description:
    """From each `POST /things` to every operation on `/things/{id}`, with the id where the answer has it.

    A drf-spectacular post-processing hook.
    """
    paths = result["paths"]
    for path, item in paths.items():
        for response in successes(item.get("post", {})):
            pointer = id_pointer(result, response)
            for child, operations in paths.items():
                if pointer and child.startswith(f"{path}/{{"):
                    parameter = child.removeprefix(f"{path}/{{").partition("}")[0]
                    for operation in operations.values():
                        response.setdefault("links", {})[operation["operationId"]] = {
                            "operationId": operation["operationId"],
                            "parameters": {f"path.{parameter}": f"$response.body#{pointer}"},
                        }
    return result


def successes(operation: Description) -> Iterator[Description]:
    for status, response in operation.get("responses", {}).items():
        if status.startswith("2"):
            yield response


def id_pointer(result: Description, response: Description) -> str | None:
    """The JSON pointer of the record's id in the answer."""
    properties = properties_of(result, response)
    if "id" in properties:
        return "/id"
    return "/spec/id" if "spec" in properties else None


def properties_of(result: Description, response: Description) -> Description:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return result["components"]["schemas"].get(name, {}).get("properties", {})
