"""Where a base URL may lead: not to what only the server can reach."""

import ipaddress

import pytest
from django.test import Client, override_settings

from tests.console.conftest import Provider, error
from workspace.models import ProviderCredential
from workspace.outbound import AddressRefused, destination

URL = "/api/v1/workspace/byok/"

ELSEWHERE = [
    "http://169.254.169.254/latest/meta-data",
    "http://2852039166/",
    "http://[fe80::1]/v1",
    "https://[fd00:ec2::254]/v1",
    "http://10.0.0.1/v1",
    "https://172.16.5.4/v1",
    "https://192.168.1.1/v1",
    "https://100.64.0.1/v1",
    "http://0.0.0.0/v1",
    "https://[::ffff:10.0.0.1]/v1",
    "https://[64:ff9b::a9fe:a9fe]/v1",
    "https://[2002:a00:1::]/v1",
    "https://224.0.0.1/v1",
    "https://255.255.255.255/v1",
]
NO_ADDRESS = [
    "ftp://api.example.com/v1",
    "file:///etc/passwd",
    "api.example.com/v1",
    "https://",
    "https://user:pass@api.example.com/v1",
    "https://api.example.com/v1?key=1",
    "https://api.example.com/v1#x",
    "https://api.example.com:99999/v1",
    "http://[::1/v1",
]


@pytest.mark.parametrize("base_url", [*ELSEWHERE, *NO_ADDRESS])
def test_it_is_refused_before_anything_is_stored(admin: Client, base_url: str) -> None:
    body = {"provider": "openai", "label": "x", "secret": "sk-secret-key", "base_url": base_url}
    answer = admin.post(URL, body, content_type="application/json")
    assert error(answer) == (400, "address_refused", "base_url")
    assert not ProviderCredential.objects.exists()


def test_a_secret_goes_to_public_addresses_by_https_only() -> None:
    with pytest.raises(AddressRefused, match="https"):
        destination("http://1.1.1.1/v1")
    assert [str(address) for address in destination("https://1.1.1.1/v1").addresses] == ["1.1.1.1"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.9.9.9", "[::ffff:127.0.0.1]"])
def test_loopback_is_reached_only_while_the_server_is_on_loopback(host: str) -> None:
    assert destination(f"http://{host}:8000/v1").addresses
    with override_settings(BOUND_TO_LOOPBACK=False), pytest.raises(AddressRefused, match="does not connect"):
        destination(f"http://{host}:8000/v1")


def test_the_operator_may_name_private_networks() -> None:
    with override_settings(LAB_PRIVATE_NETWORKS=[ipaddress.ip_network("10.1.0.0/16")]):
        assert destination("http://10.1.2.3:8000/v1").addresses
        with pytest.raises(AddressRefused):
            destination("http://10.2.0.1:8000/v1")


def test_a_credential_stored_on_loopback_is_not_followed_there_from_a_public_server(
    admin: Client, provider: Provider
) -> None:
    body = {"provider": "openai", "label": "x", "secret": provider.key, "base_url": provider.base_url}
    credential = admin.post(URL, body, content_type="application/json").json()
    with override_settings(BOUND_TO_LOOPBACK=False):
        verified = admin.post(f"{URL}{credential['id']}/verify").json()
    assert verified["status"] == "unreachable"
    assert len(provider.asked) == 1


def test_the_connection_goes_to_the_checked_address_under_the_hosts_name(provider: Provider) -> None:
    found = destination(f"http://localhost:{provider.server_port}/v1/")
    assert found.get("models", {"Authorization": f"Bearer {provider.key}"}, 5).status_code == 200
    ((path, headers),) = provider.asked
    assert (path, headers["host"]) == ("/v1/models", f"localhost:{provider.server_port}")
