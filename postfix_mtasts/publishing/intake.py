"""TLS reports by HTTPS: POST /tlsrpt at publish.report_host (RFC 8460 section 5.2).

The body is read within bounds and handed to reports/intake.py in a thread.
A sender tries again after 503 only, so that is the answer to a fault of ours.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
import threading
import zlib
from collections.abc import Callable

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.web_protocol import RequestPayloadError

from ..adapters.mailbox import UNPACKED_LIMIT
from ..adapters.reportdb import ReportDb
from ..config.settings import ReportsSettings
from ..core.quoting import KV
from ..errors import StoreError
from ..reports.intake import Intake
from .bodies import Bodies, Body
from .threads import in_thread

log = logging.getLogger(__name__)

BODY_LIMIT = 5 << 20  # bytes, as sent
LOOK_EVERY = 3_600.0  # seconds between two looks whether a day is over
ARRIVAL = 60.0  # seconds for a body to arrive
HELD_LIMIT = 64 << 20  # bytes of all bodies at once (see bodies.py); who gives way is asked to try again
GZIP, JSON = "application/tlsrpt+gzip", "application/tlsrpt+json"
AT_ONCE = 2  # reports taken in: each may take tens of megabytes while it is read

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

_PIECE = 1 << 16


class ReportIntake:
    """Takes reports into the store of reports.directory."""

    def __init__(self, settings: ReportsSettings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._bodies = Bodies(HELD_LIMIT, BODY_LIMIT)
        self._stopped = threading.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one POST."""
        if request.content_type not in (GZIP, JSON):
            return web.Response(status=415, text=f"send {GZIP} or {JSON}\n")
        name = f"posted by {request.remote}"
        patience = asyncio.timeout(ARRIVAL)
        body = self._bodies.begin(request.remote, lambda: patience.reschedule(0.0))
        try:
            async with patience:
                wrong = await self._read(request, body)
                self._bodies.arrived(body)
            if wrong is not None:
                return wrong
            async with self._places:
                return web.Response(status=await in_thread(lambda: self._take(bytes(body.data), name)))
        except TimeoutError:
            return web.Response(status=503 if body.gave_way else 408)
        except (ConnectionError, RequestPayloadError, BadHttpMessage):  # it went, or its body is not what it said
            return web.Response(status=400)
        finally:
            self._bodies.end(body)

    async def _read(self, request: web.BaseRequest, body: Body) -> web.Response | None:
        """Append what arrives to *body*; return the answer where it is too much, and read no further then."""
        if request.content_length is not None and request.content_length > BODY_LIMIT:
            return _too_long()
        if request.headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
            request.transport.write(CONTINUE)
        async for piece in request.content.iter_chunked(_PIECE):
            self._bodies.add(body, piece)
            if body.gave_way:
                return web.Response(status=503)
            if len(body.data) > BODY_LIMIT:
                return _too_long()
        return None

    def _take(self, body: bytes, name: str) -> int:
        """Store one report, or set it aside; the status code that says what became of it."""
        if _unpacks_beyond(body, UNPACKED_LIMIT):
            return 413
        try:
            with ReportDb(self._settings.directory) as store:
                taken = self._intake(store).document(body, name)
        except StoreError as error:
            log.error("report-not-stored %s", KV(reason=error))
            return 503
        return 201 if taken.new or taken.known else 400

    def run(self) -> None:
        """Forget, once a day, what has been kept for long enough, until `stop`."""
        while not self._stopped.is_set():
            try:
                with ReportDb(self._settings.directory) as store:
                    self._intake(store).forget_daily()
            except StoreError as error:
                log.error("report-not-stored %s", KV(reason=error))
            self._stopped.wait(LOOK_EVERY)

    def stop(self) -> None:
        """End `run` soon."""
        self._stopped.set()

    def _intake(self, store: ReportDb) -> Intake:
        return Intake(store, None, False, self._settings.keep, self._clock)


def _too_long() -> web.Response:
    return web.Response(status=413, text=f"a report is {BODY_LIMIT} bytes at most\n")


def _unpacks_beyond(body: bytes, limit: int) -> bool:
    """Whether a gzip body is longer than *limit* bytes unpacked; what is broken earlier is not."""
    if not body.startswith(b"\x1f\x8b"):
        return False
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            while piece := stream.read(_PIECE):
                size += len(piece)
                if size > limit:
                    return True
    except (OSError, EOFError, zlib.error):
        pass
    return False
