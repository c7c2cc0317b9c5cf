"""The OpenAPI description: complete, valid as 3.1, and silent of nothing that the server answers."""

import ast
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from openapi_spec_validator import OpenAPIV31SpecValidator

from workspace.error_codes import ERROR_CODES
from workspace.home import PROJECT_ROOT

METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in described["paths"].items():
        for method, operation in item.items():
            if method in METHODS:
                yield path, method, operation


def url_patterns(resolver: URLResolver, prefix: str = "/") -> Iterator[str]:
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from url_patterns(entry, path)
        elif isinstance(entry, URLPattern):
            yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path)


def test_it_is_generated_without_a_warning_and_valid_as_3_1(described: dict[str, Any]) -> None:
    assert not GENERATOR_STATS
    assert described["openapi"].startswith("3.1")
    assert [error.message for error in OpenAPIV31SpecValidator(described).iter_errors()] == []


def test_it_covers_every_address_of_the_api(described: dict[str, Any]) -> None:
    served = {path for path in url_patterns(get_resolver()) if re.match(r"/(api/)?v1/", path)}
    assert served == set(described["paths"])


def test_both_planes_describe_the_runtime_alike(described: dict[str, Any]) -> None:
    def shape(path: str) -> dict[str, list[str]]:
        return {method: sorted(operation["responses"]) for method, operation in described["paths"][path].items()}

    for path in described["paths"]:
        if path.startswith("/v1/"):
            assert shape(f"/api/v1/hybrie/{path.removeprefix('/v1/')}") == shape(path)


def test_every_operation_says_what_it_is_and_who_may_call_it(described: dict[str, Any]) -> None:
    schemes = set(described["components"]["securitySchemes"])
    for path, method, operation in operations(described):
        assert operation.get("summary") or operation.get("description"), (method, path)
        assert operation["tags"], (method, path)
        assert all(set(way) <= schemes for way in operation.get("security", [])), (method, path)


def test_every_refusal_has_the_error_envelope(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        for status, response in operation["responses"].items():
            if status[0] in "45" and not path.endswith(("/health", "/device/code", "/device/token")):
                shared = described["components"]["responses"][response["$ref"].rpartition("/")[2]]
                schema = shared["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}, (method, path, status)


def test_every_body_has_an_example(described: dict[str, Any]) -> None:
    for path, method, operation in operations(described):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if body and not path.endswith("/device/token"):  # whose code only a login can give
            assert body.get("examples"), (method, path)


def test_every_code_that_the_server_answers_with_is_documented() -> None:
    assert set(codes_in_the_source()) - set(ERROR_CODES) == set()


def test_the_guide_lists_every_code_with_its_status() -> None:
    guide = (PROJECT_ROOT / "docs/api.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", guide, re.MULTILINE)
    assert [(code, int(status), meaning) for code, status, meaning in rows] == [
        (code, status, meaning) for code, (status, meaning) in sorted(ERROR_CODES.items())
    ]


def codes_in_the_source() -> Iterator[str]:
    """The literal codes of `ApiError`, `invalid` and `unauthenticated`."""
    place_of_code = {"ApiError": 1, "invalid": 2, "unauthenticated": 1}
    for folder in ("workspace", "inference", "billing"):
        for file in (PROJECT_ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in place_of_code:
                    at = place_of_code[node.func.id]
                    named = [word.value for word in node.keywords if word.arg == "code"]
                    for value in [*node.args[at : at + 1], *named]:
                        if isinstance(value, ast.Constant) and isinstance(value.value, str):
                            yield value.value


def test_swagger_ui_comes_with_its_own_files(client: Client) -> None:
    page = client.get("/api/docs/").content.decode()
    files = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert files
    assert all(file.startswith("/static/") for file in files)
    for file in files:
        assert client.get(file).status_code == 200, file
