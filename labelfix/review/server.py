"""The review app: one page, and what it asks for.

Everything below `/TOKEN/`. Reading: the page itself, `static/…`, `picture/ROW`, `crop/ROW`,
`api/some`, `api/changes`, `api/groups`. Writing and what is too long for an address: `api/more`,
`api/group`, `api/decide`, `api/undo`, `api/redo`, as JSON. What can never be taken is answered with
400, what may work later with 503; the page keeps a decision until it is answered.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import jinja2
import msgspec
import uvicorn
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from labelfix.errors import InputError, Problem, RunError
from labelfix.review.desk import Desk, Wish
from labelfix.review.guideline import NAME, read_guideline
from labelfix.review.keys import ACTIONS, Keys, load_keys
from labelfix.review.pictures import pictures_of
from labelfix.review.queue import change_settings, read_settings
from labelfix.review.security import LOOPBACK, Guard, new_token
from labelfix.run import open_run
from labelfix.text import visible

if TYPE_CHECKING:
    from markupsafe import Markup
    from starlette.requests import Request

    from labelfix.review.pictures import Picture, Pictures
    from labelfix.run import Run

__all__ = ["PORT", "ReviewOptions", "create_app", "open_desk", "serve"]

PORT = 8765
"""Taken if it is free and none is asked for. The same one each time lets the browser find again
what an earlier page could not send."""

LARGEST_REQUEST = 1 << 20
"""Bytes."""

DECODERS = max(1, min(4, (os.cpu_count() or 2) // 2))
"""Pictures made at once. The other cores are the browser's: it has the next one to draw."""

_BOX = re.compile(r"(\d{1,6}),(\d{1,6}),(\d{1,6}),(\d{1,6})", re.ASCII)
_HERE = Path(__file__).parent
_KEEP = {"Cache-Control": "private, max-age=3600"}  # pictures; the page's address is new each time

T = TypeVar("T")
Handler = Callable[["Request"], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class ReviewOptions:
    """How a run is reviewed.

    Parameters
    ----------
    reviewer
        Whose decisions they are.
    host, port
        Where to listen; no port: 8765, or any if that is taken.
    root
        Where the dataset's images are now, if they moved.
    keys
        TOML file of keys, see `labelfix.review.keys`.
    guideline
        Markdown file to show beside the item; none: `guideline.md` in the run, if there is one.
    token
        The secret in the address; none: a new one.
    audit, repeats, adaptive
        Changes to the settings of the queue, see `labelfix.review.queue.change_settings`.
    """

    reviewer: str
    host: str = "127.0.0.1"
    port: int | None = None
    root: Path | None = None
    keys: Path | None = None
    guideline: Path | None = None
    token: str = field(default_factory=new_token, repr=False)
    audit: float | None = None
    repeats: float | None = None
    adaptive: bool | None = None


def open_desk(run: Run, reviewer: str, root: Path | None = None) -> Desk:
    """Set up the desk of a reviewer: the run, its log, its queue, its images.

    Raises
    ------
    InputError
        If the log is broken, or the dataset's folder is not where it was.
    """
    return Desk(run, reviewer, pictures_of(run, root), read_settings(run.path))


def create_app(run: Run, options: ReviewOptions, port: int | None = None) -> Guard:
    """Make the app, guarded.

    Parameters
    ----------
    run
        What to review.
    options
        How.
    port
        That browsers use; None lets any through.

    Raises
    ------
    InputError
        If the log, the dataset's folder, the keys, the guideline or the settings of the queue are
        not as they should be.
    """
    keys = load_keys(options.keys)
    guideline = _guideline(run, options.guideline)
    change_settings(
        run.path, audit=options.audit, repeats=options.repeats, adaptive=options.adaptive
    )
    app = _App(open_desk(run, options.reviewer, options.root), keys, guideline)
    everywhere = options.host in {"0.0.0.0", "::"}  # noqa: S104 # asked for expressly
    hosts = LOOPBACK if options.host in LOOPBACK else (*LOOPBACK, options.host.lower())
    return Guard(app.routed(), options.token, hosts, port, any_address=everywhere)


def serve(
    run: str | Path, options: ReviewOptions, ready: Callable[[str], None] | None = None
) -> None:
    """Serve the app until the process is interrupted, which it answers with KeyboardInterrupt.

    Parameters
    ----------
    run
        Directory that `labelfix find` wrote.
    options
        How.
    ready
        Called with the address to open, secret included, once it answers.

    Raises
    ------
    InputError
        As `create_app`, and if the port is taken.
    RunError
        If there is no such run.
    """
    opened = open_run(run)
    listener = _listen(options.host, options.port)
    try:
        port = listener.getsockname()[1]
        app = create_app(opened, options, port)
        address = f"http://{_reachable(options.host)}:{port}/{options.token}/"
        config = uvicorn.Config(app, log_level="error", access_log=False, ws="none", lifespan="off")
        _Server(config, lambda: None if ready is None else ready(address)).run(sockets=[listener])
    finally:
        listener.close()


class _Server(uvicorn.Server):
    """Says when it answers."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()


def _reachable(host: str) -> str:
    """Write the host that this machine's browser goes to.

    Examples
    --------
    >>> _reachable("127.0.0.1"), _reachable("0.0.0.0"), _reachable("::1")
    ('127.0.0.1', '127.0.0.1', '[::1]')
    """
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 # asked for expressly
    return f"[{name}]" if ":" in name else name


def _listen(host: str, port: int | None) -> socket.socket:
    """Take a port: the one asked for, or the usual one, or any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (PORT, 0) if port is None else (port,):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, wanted))
        except OSError as error:
            listener.close()
            if wanted and port is None:
                continue
            found = f"an address that cannot be taken ({error.strerror or error})"
            raise InputError(
                Problem(f"{host}:{wanted}", found, fix="choose another port")
            ) from error
        return listener
    raise AssertionError  # the last try either returns or raises


def _guideline(run: Run, path: Path | None) -> Markup | None:
    if path is None:
        path = run.path / NAME
        if not path.is_file():
            return None
    return read_guideline(path)


_Count = Annotated[int, msgspec.Meta(ge=1, le=100)]


class _Keys(msgspec.Struct, forbid_unknown_fields=True):
    have: list[str]
    count: _Count


class _Group(msgspec.Struct, forbid_unknown_fields=True):
    like: str
    count: _Count
    without: list[str]


class _Wishes(msgspec.Struct, forbid_unknown_fields=True):
    events: list[Wish]


class _Step(msgspec.Struct, forbid_unknown_fields=True):
    id: str


class _App:
    """Answers requests from a desk, each in a thread: no picture and no disk holds up another."""

    def __init__(self, desk: Desk, keys: Keys, guideline: Markup | None) -> None:
        self.desk = desk
        self.keys = keys
        self.guideline = guideline
        self.decoders = CapacityLimiter(DECODERS)
        self.page = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template("review.html")

    def routed(self) -> Starlette:
        """Say which address asks for what."""
        desk = self.desk
        posts: dict[str, Handler] = {
            "more": self._post(_Keys, lambda ask: desk.more(ask.have, ask.count)),
            "group": self._post(_Group, lambda ask: desk.group(ask.like, ask.count, ask.without)),
            "decide": self._post(_Wishes, lambda ask: desk.decide(ask.events)),
            "undo": self._post(_Step, lambda ask: desk.step("undo", ask.id)),
            "redo": self._post(_Step, lambda ask: desk.step("redo", ask.id)),
        }
        return Starlette(
            routes=[
                Route("/", self._index),
                Mount("/static", StaticFiles(directory=_HERE / "static")),
                Route("/picture/{row:int}", self._picture),
                Route("/crop/{row:int}", self._crop),
                Route("/api/some", self._some),
                Route("/api/changes", self._changes),
                Route("/api/groups", self._groups),
                *(Route(f"/api/{name}", do, methods=["POST"]) for name, do in posts.items()),
            ]
        )

    # Reading

    async def _index(self, request: Request) -> Response:
        del request
        try:
            page = await to_thread.run_sync(self.desk.start)
        except RunError as error:
            return PlainTextResponse(visible(str(error)), 503)
        run, data = self.desk.run, self.desk.run.info.dataset
        boot = {
            "run": {
                "id": self._name(),
                "name": visible(Path(data.root or run.path).name or str(run.path)),
                "path": visible(str(run.path)),
                "of": "boxes" if self.desk.entries.has_boxes else "classes",
                "reviewer": visible(self.desk.reviewer),
            },
            "classes": [visible(name) for name in data.class_names],
            "common": self.desk.entries.common,
            "keys": self.keys,
            "actions": [
                {"name": one.name, "places": one.places, "says": one.says, "of": one.of}
                for one in ACTIONS
            ],
            "page": page,
        }
        return HTMLResponse(self.page.render(boot=boot, guideline=self.guideline))

    def _name(self) -> str:
        """Name what decisions that wait in a browser belong to: run, data and reviewer."""
        run = self.desk.run
        parts = (str(run.path.resolve()), run.info.dataset.fingerprint, self.desk.reviewer)
        return hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).hexdigest()

    async def _picture(self, request: Request) -> Response:
        row, size = request.path_params["row"], _whole(request, "size", 1280)
        return await self._drawn(row, lambda pictures: pictures.scaled(row, size))

    async def _crop(self, request: Request) -> Response:
        row, size = request.path_params["row"], _whole(request, "size", 256)
        found = _BOX.fullmatch(request.query_params.get("box", ""))
        if found is None:
            return _json({"error": "box: four whole numbers"}, 400)
        x1, y1, x2, y2 = map(int, found.groups())
        return await self._drawn(row, lambda pictures: pictures.crop(row, (x1, y1, x2, y2), size))

    async def _drawn(self, row: int, draw: Callable[[Pictures], Picture]) -> Response:
        """Make a picture in a thread."""
        pictures = self.desk.pictures
        if pictures is None or row >= len(pictures):
            return _json({"error": "no such picture"}, 404)
        try:
            picture = await to_thread.run_sync(partial(draw, pictures), limiter=self.decoders)
        except InputError as error:
            return _json({"error": visible(str(error))}, 404)
        return Response(picture.content, media_type=picture.kind, headers=_KEEP)

    async def _some(self, request: Request) -> Response:
        keys = request.query_params.get("keys", "").split(",")
        return await _answer(lambda: self.desk.some(keys))

    async def _changes(self, request: Request) -> Response:
        since = _whole(request, "since", 0)
        return await _answer(lambda: self.desk.changes(since))

    async def _groups(self, request: Request) -> Response:
        del request
        return await _answer(self.desk.groups)

    # Writing

    def _post(self, kind: type[T], do: Callable[[T], Any]) -> Handler:
        """Make a handler that reads JSON of one shape, and answers with what `do` gives."""

        async def handle(request: Request) -> Response:
            if not request.headers.get("content-type", "").startswith("application/json"):
                return _json({"error": "send JSON"}, 415)
            body = b""
            async for part in request.stream():
                body += part
                if len(body) > LARGEST_REQUEST:
                    return _json({"error": "too long"}, 413)
            try:
                ask = msgspec.json.decode(body, type=kind)
            except msgspec.DecodeError as error:
                return _json({"error": str(error)}, 400)
            return await _answer(lambda: do(ask))

        return handle


async def _answer(do: Callable[[], Any]) -> Response:
    """Do something in a thread, and answer with what it gives or with what was in the way."""
    try:
        return _json(await to_thread.run_sync(do))
    except OSError as error:
        return _json({"error": f"the disk refuses it: {error.strerror or error}"}, 503)
    except RunError as error:
        return _json({"error": visible(str(error))}, 503)
    except InputError as error:
        return _json({"error": visible(str(error))}, 400)


def _json(content: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _whole(request: Request, name: str, otherwise: int) -> int:
    """Read a whole number from 0 in the address."""
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else otherwise
