from collections.abc import Callable, Iterator

import httpx
import pytest

from inference.housekeeping import Housekeeping
from tests.serving import Tenant

POLICY = "Acme's returns desk takes goods back within 45 days of delivery. Write to returns@acme.example."
Internalize = Callable[..., httpx.Response]


@pytest.fixture
def housekeeping(base_url: str) -> Iterator[None]:
    """The thread that a whole server has, beside the server of `tests.serving`."""
    keeping = Housekeeping()
    keeping.start()
    yield
    keeping.stop()


def internalize(tenant: Tenant, document: str = POLICY, **fields: object) -> httpx.Response:
    return tenant.http.post("/v1/d2l/internalize", json={"document_text": document, **fields})
