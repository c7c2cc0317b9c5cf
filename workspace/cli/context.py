"""What all commands share: the options that name the server, and how they end."""

from functools import cached_property
from typing import Annotated

import typer

from workspace.cli.client import Client
from workspace.cli.settings import target

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Session:
    """The server that a command speaks to, found when it is first asked."""

    def __init__(self, server: str | None, key: str | None) -> None:
        self.server, self.key = server, key

    @cached_property
    def client(self) -> Client:
        return Client(target(self.server, self.key))


def client_of(context: typer.Context) -> Client:
    session = context.obj
    assert isinstance(session, Session)
    return session.client
