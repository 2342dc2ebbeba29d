"""`labelfix review`."""

from __future__ import annotations

import contextlib
import getpass
import sys
import threading
import webbrowser
from enum import StrEnum
from pathlib import Path  # noqa: TC003 # typer reads annotations
from typing import Annotated
from urllib.parse import urlsplit

import typer

from labelfix.cli.base import Quiet  # noqa: TC001 # typer reads annotations
from labelfix.cli.output import print_lines

__all__ = ["review"]


class Order(StrEnum):
    """Of what is left."""

    adaptive = "adaptive"
    fixed = "fixed"


def review(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Directory that `labelfix find` wrote.")
    ],
    *,
    reviewer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Whose decisions they are. Default: your name on this computer.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            help="Where to listen. Default: 8765, or any that is free.",
            show_default=False,
        ),
    ] = None,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")
    ] = True,
    root: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where the dataset's images are, if they moved.", show_default=False
        ),
    ] = None,
    guideline: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Markdown to show beside the item. Default: guideline.md in RUN.",
            show_default=False,
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML that changes keys.", show_default=False),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Listen on this address; any but 127.0.0.1 lets other computers in.",
        ),
    ] = "127.0.0.1",
    audit: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of the issues mixed in at random (0.05; 50 at least); before any decision.",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Share of what was decided to show once more (0.02).",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        Order | None,
        typer.Option(
            help="Let decisions change what comes next, or keep to the ranking (adaptive).",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Go through the queue in the browser, and decide."""
    from labelfix.review.security import LOOPBACK
    from labelfix.review.server import ReviewOptions, serve

    options = ReviewOptions(
        reviewer=reviewer or _own_name(),
        host=host,
        port=port,
        root=root,
        keys=keys,
        guideline=guideline,
        audit=audit,
        repeats=repeats,
        adaptive=None if order is None else order is Order.adaptive,
    )

    def ready(address: str) -> None:
        if host not in LOOPBACK:
            print_lines(*_about_host(host, urlsplit(address).port), to=sys.stderr)
        if not (quiet and browser):
            print_lines(f"Reviewing as {options.reviewer}: {address}", "Ctrl+C ends it.")
            sys.stdout.flush()
        if browser:  # one in the terminal would hold up the server
            threading.Thread(target=webbrowser.open, args=[address], daemon=True).start()

    with contextlib.suppress(KeyboardInterrupt):  # the way to end it
        serve(run, options, ready)


def _own_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # no such user in a container
        return "reviewer"


def _about_host(host: str, port: int | None) -> list[str]:
    return [
        f"Warning: --host {host} lets other computers reach this server. Whoever has the address "
        "below, or reads the network (nothing is encrypted), can see the images and decide in your "
        "name. Without --host nobody but this computer can; from elsewhere, an SSH tunnel is "
        f"safer: ssh -L {port}:127.0.0.1:{port} THIS-COMPUTER",
    ]
