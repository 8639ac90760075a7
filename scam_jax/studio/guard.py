"""Who may talk to a studio: pages of this studio on this machine, or whoever has its token."""

import hashlib
import hmac
from collections.abc import Collection
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# What the page may load: its own files, and pictures that it makes. Nothing from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; form-action 'none'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = [
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
]


class Guard:
    """ASGI middleware that refuses requests of other pages and other people.

    Without a token, only requests to the given hosts pass: a page elsewhere cannot give its own
    domain the address of this machine. With a token, a request needs it as `?token=…` once; a
    cookie holds it from then on. In both cases a page of another origin is refused.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], token: str | None = None):
        self.app, self.hosts, self.token = app, hosts, token
        # A browser sends the cookies of all ports of a host, so each token has a name of its own.
        self.cookie = "scam_jax_studio_" + hashlib.sha256((token or "").encode()).hexdigest()[:8]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        refusal = self._refusal(request, given)
        if refusal:
            await PlainTextResponse(refusal, 403)(scope, receive, _with_headers(send))
            return
        if self.token and self._is_token(given):
            answer = RedirectResponse(scope["path"])
            # Not strict: then a link in a page of mail would not work. Other requests of other
            # pages are refused above.
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="lax")
            await answer(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))

    def _refusal(self, request: HTTPConnection, given: str) -> str | None:
        headers = request.headers
        host = headers.get("host", "")
        if self.token is None and host not in self.hosts:
            return f"this studio is at {', '.join(self.hosts)} alone"
        # On this machine the studio speaks HTTP; with a token, a server before it may add TLS.
        own = [f"http://{host}"] if self.token is None else [f"http://{host}", f"https://{host}"]
        if "origin" in headers and headers["origin"] not in own:
            return "this studio takes no requests of other pages"
        if headers.get("sec-fetch-site") == "cross-site" and request.url.path != "/":
            return "this studio takes no requests of other pages"
        if self.token is None:
            return None
        if self._is_token(given) or self._is_token(request.cookies.get(self.cookie, "")):
            return None
        return "this studio needs its token: open the address that the terminal shows"

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or "").encode())


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *_HEADERS]}
        await send(message)

    return wrapped
