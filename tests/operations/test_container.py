"""What the image and the compose file say about the code, checked without Docker."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from workspace.home import PROJECT_ROOT

DOCKERFILE = (PROJECT_ROOT / "Dockerfile").read_text()
FINAL_STAGE = DOCKERFILE.rpartition("\nFROM ")[2]


@pytest.fixture
def services() -> dict[str, Any]:
    return yaml.safe_load((PROJECT_ROOT / "compose.yaml").read_text())["services"]


def test_what_the_image_copies_is_all_that_the_server_needs(tmp_path: Path) -> None:
    for source in re.findall(r"^COPY (?!--from)(\S+) \S+$", FINAL_STAGE, re.MULTILINE):
        copy = shutil.copytree if (PROJECT_ROOT / source).is_dir() else shutil.copy
        copy(PROJECT_ROOT / source, tmp_path / source)
    check = subprocess.run([sys.executable, "manage.py", "check"], cwd=tmp_path, capture_output=True, text=True)
    assert "no issues" in check.stdout, check.stderr


def test_the_build_context_holds_what_is_copied() -> None:
    kept = re.findall(r"^!(\S+)$", (PROJECT_ROOT / ".dockerignore").read_text(), re.MULTILINE)
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)).split()
    assert set(copied) == set(kept)
    assert all((PROJECT_ROOT / name).exists() for name in kept)


def test_the_image_runs_as_nobody_special_and_says_when_it_is_healthy() -> None:
    assert re.search(r"^USER (?!0\b)\d+:\d+$", FINAL_STAGE, re.MULTILINE)
    assert "/v1/health" in FINAL_STAGE


def test_torch_in_the_image_is_the_one_that_is_tested() -> None:
    pinned = re.search(r"torch==[\d.]+", (PROJECT_ROOT / "pyproject.toml").read_text())
    assert pinned
    assert pinned[0] in DOCKERFILE


def test_compose_runs_each_part_once_and_waits_for_what_it_needs(services: dict[str, Any]) -> None:
    assert set(services) == {"runtime", "worker", "long-worker", "beat", "postgres", "valkey"}
    assert services["runtime"]["environment"]["LAB_RUN_WORKERS"] == "0"
    for name in ("runtime", "worker", "long-worker", "beat"):
        assert all(need["condition"] == "service_healthy" for need in services[name]["depends_on"].values())
    for name in ("worker", "long-worker", "beat", "postgres", "valkey"):
        assert services[name]["healthcheck"]


def test_compose_sets_only_variables_that_are_documented(services: dict[str, Any]) -> None:
    documented = set(re.findall(r"`([A-Z_]+)`", (PROJECT_ROOT / "docs/configuration.md").read_text()))
    assert set(services["runtime"]["environment"]) <= documented
