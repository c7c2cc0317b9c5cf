import re

from workspace.home import PROJECT_ROOT

READS_ENVIRONMENT = re.compile(
    r"""(?:environ(?:\.get)?[(\[]|\b(?:flag|positive|words|networks)\()\s*"((?:LAB_|DATABASE_|CELERY_)[A-Z_]+)\""""
)
BETWEEN_OWN_PROCESSES = {"LAB_EMBEDDED", "LAB_SERVER_PID"}


def test_every_variable_that_is_read_is_documented_and_the_other_way_round() -> None:
    guide = (PROJECT_ROOT / "docs/configuration.md").read_text()
    documented = set(re.findall(r"^\| `((?:LAB_|DATABASE_|CELERY_)[A-Z_]+)` \|", guide, re.MULTILINE))
    read = {
        name
        for app in ("workspace", "inference", "billing")
        for file in (PROJECT_ROOT / app).rglob("*.py")
        for name in READS_ENVIRONMENT.findall(file.read_text())
    }
    assert read - BETWEEN_OWN_PROCESSES == documented
