"""`lab chat`."""

import json
import sys
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from workspace.cli.client import Client
from workspace.cli.context import AsJson, client_of
from workspace.cli.failure import Exit, Failure
from workspace.cli.output import console, print_json

LEAVE = {"/quit", "/exit"}
Messages = list[dict[str, str]]


def chat(
    context: typer.Context,
    prompt: Annotated[list[str] | None, typer.Argument(help="One question; without it, a conversation.")] = None,
    adapter: Annotated[str | None, typer.Option(help="Serve through this adapter.")] = None,
    compare: Annotated[bool, typer.Option(help="Ask the base model too, and show both.")] = False,
    system: Annotated[str | None, typer.Option(help="A system message.")] = None,
    model: Annotated[str | None, typer.Option(help="By default what the server serves.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    as_json: AsJson = False,
) -> None:
    """Ask one question, or talk; answers appear as they are made."""
    if compare and not adapter:
        raise Failure("--compare needs an --adapter to compare the base model with.", Exit.USAGE)
    client = client_of(context)
    body = {"model": model or client.get("/v1/health")["model"]}
    body |= {
        name: value for name, value in (("max_tokens", max_tokens), ("temperature", temperature)) if value is not None
    }
    start: Messages = [{"role": "system", "content": system}] if system else []
    ways = [None, adapter] if compare else [adapter]
    if prompt:
        messages = [*start, {"role": "user", "content": " ".join(prompt)}]
        if as_json:
            print_json([whole(client, body, messages, way) for way in ways])
            return
        for way in ways:
            say(client, body, messages, way, named=compare)
        return
    talk(client, body, start, ways)


def talk(client: Client, body: dict[str, Any], start: Messages, ways: list[str | None]) -> None:
    """A conversation for each of the ways, on the same questions, until the end of the input."""
    histories = {way: list(start) for way in ways}
    if sys.stdin.isatty():
        console.print("[dim]/quit or Ctrl-D ends it.[/dim]")
        import readline  # noqa: F401  # input() edits lines with it
    while True:
        try:
            question = input("> " if sys.stdin.isatty() else "").strip()
        except EOFError:
            return
        if question in LEAVE:
            return
        if not question:
            continue
        for way in ways:
            histories[way].append({"role": "user", "content": question})
            try:
                answer = say(client, body, histories[way], way, named=len(ways) > 1)
            except KeyboardInterrupt:
                console.print("\n[dim]stopped[/dim]")
                answer = ""
            histories[way].append({"role": "assistant", "content": answer})


def say(client: Client, body: dict[str, Any], messages: Messages, adapter: str | None, named: bool) -> str:
    """Print an answer piece by piece; returns the whole."""
    if named:
        console.print(f"[bold]{adapter or 'base model'}[/bold]")
    said = ""
    for piece in pieces(client, body, messages, adapter):
        said += piece
        print(piece, end="", flush=True)
    print()
    return said


def pieces(client: Client, body: dict[str, Any], messages: Messages, adapter: str | None) -> Iterator[str]:
    request = {**body, "messages": messages, "stream": True}
    with client.stream("/v1/chat/completions", request, routing(adapter)) as answer:
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise Failure(str(event["error"]["message"]), Exit.FAILED, event["error"]["code"])
            for choice in event["choices"]:
                yield choice["delta"].get("content") or ""


def whole(client: Client, body: dict[str, Any], messages: Messages, adapter: str | None) -> Any:
    return client.call("POST", "/v1/chat/completions", json={**body, "messages": messages}, headers=routing(adapter))


def routing(adapter: str | None) -> dict[str, str]:
    return {"x-hybrie-adapter-id": adapter} if adapter else {}
