"""The `lab` command."""

import sys
from typing import Annotated

import typer

from workspace.cli import adapters, billing, chat, doctor, internalize, keys, login, peers, serve, status, usage
from workspace.cli.context import Session
from workspace.cli.failure import Exit, Failure
from workspace.cli.output import errors, print_json

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Serve LoRA adapters from a running base model, turn documents into adapters, and meter every token.",
)
app.add_typer(adapters.app, name="adapters")
app.add_typer(keys.app, name="keys")
app.add_typer(peers.app, name="peers")
for command in (
    *(serve.serve, status.status, chat.chat, internalize.internalize, usage.usage, billing.billing),
    *(login.login, login.logout, doctor.doctor),
):
    app.command()(command)


@app.callback()
def connect(
    context: typer.Context,
    server: Annotated[
        str | None, typer.Option(help="The server's address; else LAB_SERVER, else this machine.")
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="An API key or CLI token; else LAB_API_KEY, else `lab login`.")
    ] = None,
) -> None:
    context.obj = Session(server, key)


def main() -> None:
    """The entry point: what goes wrong is one line on stderr, or JSON where JSON was asked for."""
    try:
        app()
    except Failure as failure:
        if "--json" in sys.argv:
            print_json(failure.to_dict())
        else:
            code = f" ({failure.code})" if failure.code else ""
            errors.print(f"error: {failure.message}{code}", markup=False)
        sys.exit(failure.exit)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(Exit.FAILED)
