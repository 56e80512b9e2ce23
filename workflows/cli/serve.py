"""``spinmultinet serve``: a page to look at campaigns, labels and models while they grow."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from workflows.cli.errors import MissingRequirementError

Places = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PLACE...]",
        show_default=False,
        help="Campaign files, campaign folders, folders of either, or stores: local:FOLDER, mongodb://HOST/DATABASE. "
        "Default: the campaigns in this folder.",
    ),
]


def serve(
    places: Places = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8080,
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than the loopback, every page asks for the token.")
    ] = "127.0.0.1",
    private: Annotated[
        bool, typer.Option("--private", help="Ask for the token before anything is shown, on the loopback as well.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Keep the token in this file, which only you may read; made where it does not exist."),
    ] = None,
    known_as: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further host name under which browsers reach the server (proxies)."),
    ] = None,
    remote: Annotated[
        str, typer.Option(metavar="PROJECT", help="Show the queue of this jobflow-remote project.", show_default=False)
    ] = "",
) -> None:
    """Serve a page to look at: campaigns, labels with their spins in 3D, models, the queue.

    Live while a campaign runs; nothing comes from the network. Changes (decisions on labels) need the token that is
    printed at the start. Stop with Ctrl-C. From elsewhere, better than --host is a tunnel: ssh -L 8080:localhost:8080
    MACHINE. On a machine with other users, who reach the loopback too, add --private.

    \b
    Examples:
      spinmultinet serve configs/campaigns/quickstart_nio.yaml
      spinmultinet serve runs --port 0
      spinmultinet serve mongodb://db.example.org/nio --private --token-file ~/.spinmultinet-token --remote cluster
    """
    _require("nicegui", "serve")
    if remote:
        _require("jobflow_remote", "remote")
    from workflows.serve.access import LOOPBACK
    from workflows.serve.server import ServeOptions, bind
    from workflows.serve.server import serve as answer

    names = tuple(known_as or ())
    options = ServeOptions(places or ["."], host, port, token_file, private, names, remote)
    bound = bind(options)
    if host not in LOOPBACK:
        typer.echo(
            f"warning: {host} is reached from other machines and the connection is not encrypted, so who listens on "
            "the network sees the token; use it behind a proxy with TLS, or use a tunnel: ssh -L",
            err=True,
        )
    secret = f"in {token_file}" if token_file else bound.shelf.access.token

    def ready() -> None:
        typer.echo(f"serving {', '.join(bound.shelf.projects)} at {bound.url} (Ctrl-C ends it)")
        typer.echo(f"token for {'everything' if bound.shelf.access.private else 'changes'}: {secret}")

    answer(bound, ready)


def _require(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise MissingRequirementError(
            f"Python package {package} is not installed; install it with: pip install 'spinmultinet-workflows[{extra}]'"
        )
