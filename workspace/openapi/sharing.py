"""Refusals that operations have in common, written once."""

import json
from collections import Counter
from typing import Any


def share_refusals(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Move equal 4xx, 5xx and default responses to `components.responses`. A drf-spectacular post-processing hook."""
    names: dict[str, str] = {}
    used: Counter[str] = Counter()
    shared = result["components"].setdefault("responses", {})
    for item in result["paths"].values():
        for operation in item.values():
            for status, response in operation["responses"].items():
                if status.startswith("2"):
                    continue
                written = json.dumps([status, response], sort_keys=True)
                if written not in names:
                    used[status] += 1
                    names[written] = f"Refusal_{status}_{used[status]}"
                    shared[names[written]] = response
                operation["responses"][status] = {"$ref": f"#/components/responses/{names[written]}"}
    return result
