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

from ..adapters.mailbox import UNPACKED_LIMIT
from ..adapters.reportdb import ReportDb
from ..config.settings import ReportsSettings
from ..core.quoting import KV
from ..errors import StoreError
from ..reports.intake import Intake
from .threads import in_thread

log = logging.getLogger(__name__)

BODY_LIMIT = 5 << 20  # bytes, as sent
LOOK_EVERY = 3_600.0  # seconds between two looks whether a day is over
ARRIVAL = 60.0  # seconds for a body to arrive
GZIP, JSON = "application/tlsrpt+gzip", "application/tlsrpt+json"
AT_ONCE = 2  # reports taken in: each may take tens of megabytes while it is read

_PIECE = 1 << 16


class ReportIntake:
    """Takes reports into the store of reports.directory."""

    def __init__(self, settings: ReportsSettings, clock: Callable[[], float]) -> None:
        self._settings, self._clock = settings, clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._stopped = threading.Event()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one POST."""
        if request.content_type not in (GZIP, JSON):
            return web.Response(status=415, text=f"send {GZIP} or {JSON}\n")
        try:
            async with asyncio.timeout(ARRIVAL):
                body = await _body(request)
        except TimeoutError:
            return web.Response(status=408)
        if body is None:
            return web.Response(status=413, text=f"a report is {BODY_LIMIT} bytes at most\n")
        name = f"posted by {request.remote}"
        async with self._places:
            status = await in_thread(lambda: self._take(body, name))
        return web.Response(status=status)

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


async def _body(request: web.BaseRequest) -> bytes | None:
    """The body, or None for one that is too long; it is read no further then."""
    if request.content_length is not None and request.content_length > BODY_LIMIT:
        return None
    body = bytearray()
    async for piece in request.content.iter_chunked(_PIECE):
        body += piece
        if len(body) > BODY_LIMIT:
            return None
    return bytes(body)


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
