"""The HTTP side of a studio. All that it does for the page, `desk` does.

A message is a line of JSON, and then bytes: a label map `uint8 [H, W]`, a file, a picture.
"""

import contextlib
import functools
import importlib.resources
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Collection
from types import FrameType
from typing import Any, TypeVar

import anyio
import numpy as np
import uvicorn
from absl import logging
from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from scam_jax.studio.desk import LOOPS, Desk, png
from scam_jax.studio.guard import Guard

MOST_BYTES = 64 * 2**20
MOST_SECONDS = 60.0
# Pictures on a page of the library.
PAGE = 48
_R = TypeVar("_R")


def create(desk: Desk, hosts: Collection[str], token: str | None = None) -> Starlette:
    """Returns the studio as an ASGI application, which compiles its programs when it starts.

    Args:
      desk: what it serves.
      hosts: values of the Host header that it answers to if it has no token.
      token: what a browser has to know, or None on this machine alone.
    """
    studio = _Studio(desk)
    page = importlib.resources.files("scam_jax.studio") / "page"
    routes = [
        Route("/", functools.partial(_page, str(page / "index.html"))),
        Mount("/page", StaticFiles(directory=str(page))),
        Route("/api/about", studio.about),
        Route("/api/pictures/{name:path}.png", studio.picture),
        Route("/api/pictures/{name:path}.labels", studio.labels),
        Route("/api/sheet.png", studio.sheet),
        Route("/api/saved/{folder}/{name}", studio.saved),
        *(
            Route(f"/api/{name}", getattr(studio, name), methods=["POST"])
            for name in ("upload", "generate", "truth", "loop", "attention", "save", "load")
        ),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts, token=token)],
        exception_handlers={
            ValueError: _refused,
            KeyError: _malformed,
            TypeError: _malformed,
            OSError: _unwritable,
            HTTPException: _http_error,
        },
        lifespan=studio.lifespan,
        max_body_size=MOST_BYTES,
    )
    app.state.studio = studio
    return app


class Server(uvicorn.Server):
    """Serves a studio. Ctrl-C ends it after the work that it does; before it is ready, at once."""

    def __init__(self, app: Starlette):
        super().__init__(uvicorn.Config(app, log_level="warning", server_header=False))
        self.studio: _Studio = app.state.studio
        self.studio.end = self._end

    def serve_on(self, listener: socket.socket) -> None:
        """Serves until it is interrupted; raises what the first compilation raised."""
        self.run([listener])
        if self.studio.failure is not None:
            raise self.studio.failure

    def _end(self) -> None:
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Threads cannot be ended, and a compilation takes minutes. Nothing is lost: files are
        # written at once as a whole.
        if self.should_exit or not self.studio.is_ready:
            print("interrupted", file=sys.stderr, flush=True)
            os._exit(128 + sig)
        super().handle_exit(sig, frame)


async def _page(file: str, request: Request) -> Response:
    return FileResponse(file, media_type="text/html; charset=utf-8")


def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 400)


def _unwritable(request: Request, error: Exception) -> Response:
    assert isinstance(error, OSError)
    logging.warning("a file cannot be written or read", exc_info=error)
    return JSONResponse({"error": f"{error.filename or 'a file'}: {error.strerror or error}"}, 500)


def _malformed(request: Request, error: Exception) -> Response:
    logging.warning("a malformed request", exc_info=error)
    return JSONResponse({"error": f"the request is not one of this page's ({error!r})"}, 400)


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code)


def _message(header: Any, content: bytes) -> Response:
    line = json.dumps(header, ensure_ascii=False).encode() + b"\n"
    return Response(line + content, media_type="application/octet-stream")


async def _body(request: Request) -> bytes:
    try:
        with anyio.fail_after(MOST_SECONDS):
            return await request.body()
    except TimeoutError as error:
        raise ValueError(f"the upload took more than {MOST_SECONDS:.0f} s") from error
    except ClientDisconnect as error:
        raise HTTPException(499, "the browser went away") from error


async def _read(request: Request) -> tuple[dict[str, Any], bytes]:
    """Returns the JSON and the bytes of a message."""
    line, _, content = (await _body(request)).partition(b"\n")
    try:
        header = json.loads(line)
    except ValueError as error:
        raise ValueError(f"the request is not one of this page's ({error})") from error
    if not isinstance(header, dict):
        raise ValueError("the request is not one of this page's: it has no {…}")
    return header, content


class _Studio:
    """The requests of a studio. The desk works on one at a time, in a thread of its own."""

    def __init__(self, desk: Desk):
        self.desk = desk
        self.progress = "starting"
        self.is_ready = False
        self.failure: Exception | None = None
        self.end: Callable[[], None] = lambda: None
        self.one = CapacityLimiter(1)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._warm_up)
            yield
            tasks.cancel_scope.cancel()

    async def _warm_up(self) -> None:
        def compile_all() -> None:
            self.desk.warm_up(self._tell)

        try:
            await self._at_desk(compile_all)
        except Exception as error:
            self.failure = error
            self.end()
            return
        self.is_ready = True
        logging.info("the studio is ready")

    def _tell(self, what: str) -> None:
        self.progress = f"compiling {what}"

    async def _at_desk(self, work: Callable[[], _R], request: Request | None = None) -> _R:
        async with self.one:
            # Whoever went away while others were served needs no answer.
            if request is not None and await request.is_disconnected():
                raise HTTPException(499, "the browser went away")
            return await to_thread.run_sync(work)

    async def _asked(self, request: Request) -> tuple[dict[str, Any], np.ndarray | None]:
        """Returns what the page asks for, and the label map that it painted."""
        asked, content = await _read(request)
        if not content:
            return asked, None
        height, width = self.desk.size
        if len(content) != height * width:
            raise ValueError(f"a label map of {height}×{width} bytes is needed, not {len(content)}")
        return asked, np.frombuffer(content, np.uint8).reshape(height, width)

    async def about(self, request: Request) -> Response:
        state = {"ready": self.is_ready, "progress": self.progress}
        if not self.is_ready:
            return JSONResponse(state)
        return JSONResponse(state | await self._at_desk(self.desk.about))

    async def picture(self, request: Request) -> Response:
        name = request.path_params["name"]
        image = await self._at_desk(lambda: png(self.desk.library[name].image))
        return Response(image, media_type="image/png")

    async def labels(self, request: Request) -> Response:
        name = request.path_params["name"]
        labels = await self._at_desk(lambda: self.desk.library[name].labels)
        return Response(labels.tobytes(), media_type="application/octet-stream")

    async def sheet(self, request: Request) -> Response:
        sheet = await self._at_desk(lambda: png(self.desk.sheet()))
        return Response(sheet, media_type="image/png")

    async def saved(self, request: Request) -> Response:
        file = self.desk.saved_file(request.path_params["folder"], request.path_params["name"])
        return FileResponse(file, filename=file.name)

    async def upload(self, request: Request) -> Response:
        header, content = await _read(request)
        split = int(header["photo"])
        photo, labels = content[:split], content[split:] or None
        name = str(header["name"])
        return JSONResponse(
            await self._at_desk(lambda: self.desk.add(name, photo, labels), request)
        )

    async def generate(self, request: Request) -> Response:
        asked = await self._asked(request)
        told, image = await self._at_desk(lambda: self.desk.generate(*asked), request)
        return _message(told, png(image))

    async def truth(self, request: Request) -> Response:
        asked, _ = await self._asked(request)
        image = await self._at_desk(lambda: png(self.desk.truth(asked)), request)
        return Response(image, media_type="image/png")

    async def loop(self, request: Request) -> Response:
        asked, labels = await self._asked(request)
        form, count = str(asked["form"]), int(asked["count"])
        loop = await self._at_desk(lambda: self.desk.loop(asked, labels, count, form), request)
        return Response(loop, media_type=f"image/{LOOPS[form].lower()}")

    async def attention(self, request: Request) -> Response:
        asked = await self._asked(request)
        return _message(*await self._at_desk(lambda: self.desk.attention(*asked), request))

    async def save(self, request: Request) -> Response:
        asked = await self._asked(request)
        return JSONResponse(await self._at_desk(lambda: self.desk.save(*asked), request))

    async def load(self, request: Request) -> Response:
        content = await _body(request)
        return JSONResponse(await self._at_desk(lambda: self.desk.load(content), request))
