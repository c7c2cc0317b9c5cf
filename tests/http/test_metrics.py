import httpx

from tests.http.conftest import Tenant


def value(text: str, name: str) -> float:
    return next(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


def test_it_works(tenant: Tenant) -> None:
    before = tenant.http.get("/metrics").text
    answer = tenant.ask("Hello", max_tokens=7, ignore_eos=True).json()
    after = tenant.http.get("/metrics").text
    kind = 'lab_tokens_total{kind="completion"}'
    assert value(after, kind) - value(before, kind) == answer["usage"]["completion_tokens"] == 7
    first = "lab_time_to_first_token_seconds_count"
    assert value(after, first) - value(before, first) == 1
    assert value(after, "lab_adapter_slots") == 4
    assert value(after, "lab_kv_used_tokens") <= value(after, "lab_kv_capacity_tokens")


def test_without_a_key_it_is_401(base_url: str) -> None:
    assert httpx.get(f"{base_url}/metrics").status_code == 401
