"""`stimulir compute peers`, as it is typed."""

from tests.clients.conftest import CommandLine


def test_peers_are_added_listed_and_removed(cli: CommandLine) -> None:
    add = ("compute", "peers", "add", "--name", "gpu-2")
    made = cli.json(*add, "--grpc", "http://127.0.0.1:9", "--realtime", "http://127.0.0.1:9", "--no-probe")
    assert (made["name"], made["reachable"], made["registered"]) == ("gpu-2", False, True)
    assert "gpu-2" in cli.run("compute", "peers", "list")
    assert "already" in cli.fail(*add, "--grpc", "http://127.0.0.1:9")
    assert "169.254" in cli.fail("compute", "peers", "add", "--realtime", "http://169.254.169.254:8080")
    assert "removed" in cli.run("compute", "peers", "remove", made["id"], "--yes")
    assert "404" in cli.fail("compute", "peers", "remove", made["id"], "--yes")
    assert cli.json("compute", "peers", "list") == {"peers": []}
