"""Who may talk to the review server, and what a browser may do with what it answers.

The server holds a person's images and writes a person's decisions, and every web page that the
same person has open could try to talk to it. So every request must carry a secret in its address,
name this server as its host (no DNS rebinding: a foreign name that resolves to this machine is
refused) and, where a browser says from which page it comes, come from a page of this server.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["HEADERS", "LOOPBACK", "Guard", "new_token"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Names under which only this machine reaches itself."""

HEADERS = {
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",  # no text can become markup, ever
            "trusted-types 'none'",
        ]
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "same-origin",  # addresses hold the secret
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Sent with every answer, refusals included."""

_SITES = frozenset({"same-origin", "none"})  # "none": typed, or opened from outside of the browser


def new_token() -> str:
    """Make a secret of 192 bits that fits into an address.

    Examples
    --------
    >>> len(new_token()), new_token() == new_token()
    (32, False)
    """
    return secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Guard:
    """Lets requests through that know the secret and come from the server's own page.

    Parameters
    ----------
    app
        What is guarded. It sees addresses below `/TOKEN/` alone.
    token
        The secret, first part of every address.
    hosts
        Names that the server answers to, without port.
    port
        The port that browsers use; None to take any.
    any_address
        Answer to every numeric address too, which no DNS name can pretend to be: for a server that
        is bound to all of a machine's addresses.

    Examples
    --------
    >>> guard = Guard(PlainTextResponse("hello"), "secret", port=8765)
    >>> guard.refusal("/secret/", Headers({"host": "127.0.0.1:8765"}), "GET")
    ''
    >>> guard.refusal("/secret/", Headers({"host": "evil.example:8765"}), "GET")
    'this server does not answer to that name'
    """

    app: ASGIApp
    token: str = field(repr=False)
    hosts: tuple[str, ...] = LOOPBACK
    port: int | None = None
    any_address: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse, one request."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        why = self.refusal(scope["path"], Headers(scope=scope), scope["method"])
        if why:
            answer = PlainTextResponse(
                f"Refused: {why}.\nOpen the address that `labelfix review` printed.\n", 403
            )
            await answer(scope, receive, dressed)
            return
        inner = {**scope, "root_path": f"{scope.get('root_path', '')}/{self.token}"}
        await self.app(inner, receive, dressed)

    def refusal(self, path: str, headers: Headers, method: str) -> str:
        """Say why a request is refused, or nothing."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return "this server does not answer to that name"
        given = path.split("/", 2)[1] if path.startswith("/") else ""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return "the address lacks this server's secret"
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}", f"https://{host}"}:
            return "the request comes from another page"
        if headers.get("sec-fetch-site", "none") not in _SITES:
            return "the request comes from another page"
        if method not in {"GET", "HEAD"} and origin is None:
            return "a request that writes must say from which page it comes"
        return ""

    def _is_ours(self, host: str) -> bool:
        name, port = _split(host)
        if self.port is not None and port != self.port:
            return False
        return name in self.hosts or (self.any_address and _is_numeric(name))


def _split(host: str) -> tuple[str, int | None]:
    """Take a Host header apart into name, without the brackets of IPv6, and port."""
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, "80"
    if not port.isascii() or not port.isdigit():
        return "", None
    return name.removeprefix("[").removesuffix("]").lower(), int(port)


def _is_numeric(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
