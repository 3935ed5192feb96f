"""The policy host: one path, exact bytes, and 404 for everything else.

Answers GET and HEAD of /.well-known/mta-sts.txt for mta-sts.D (RFC 8461
section 3.3): never a redirect, never compressed. Port 80 answers ACME
challenges only (RFC 8555 section 8.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web

from ..core.names import Domain
from .publisher import Table
from .tls import chosen_name
from .webserver import plain

POLICY_PATH = "/.well-known/mta-sts.txt"
REPORT_PATH = "/tlsrpt"
CHALLENGE_PATH = "/.well-known/acme-challenge/"
HOST_LABEL = "mta-sts."

Intake: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class PolicyHost:
    """Answers requests from the table of what is served."""

    def __init__(self, report_host: str | None, intake: Intake | None) -> None:
        self.table: Table = {}
        self.requests: Counter[str] = Counter()  # by status code, as its server counts them
        self.unknown_names = 0  # handshakes refused for the name they asked for
        self._report_host, self._intake = report_host, intake

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of the HTTPS port."""
        if len(request.headers.getall("Host", ())) != 1:  # older aiohttp takes two, and two servers might differ
            return plain(400)
        host = _host_of(request)
        tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
        if tls is not None and chosen_name(tls) != host:
            return plain(421)
        if host == self._report_host and self._intake is not None and request.path == REPORT_PATH:
            return await self._intake(request) if request.method == "POST" else _not_allowed("POST")
        served = self.table.get(Domain(host.removeprefix(HOST_LABEL))) if host.startswith(HOST_LABEL) else None
        if served is None or request.rel_url.raw_path != POLICY_PATH or request.query_string:
            return plain(404)
        if request.method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        return plain(200, served.text)


class ChallengeHost:
    """Answers what an ACME server asks of port 80."""

    def __init__(self, challenges: Mapping[str, str]) -> None:
        self._challenges = challenges

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of the HTTP port."""
        answer = self._challenges.get(request.path.removeprefix(CHALLENGE_PATH))
        if answer is None or not request.path.startswith(CHALLENGE_PATH):
            return plain(404)
        if request.method not in ("GET", "HEAD"):
            return _not_allowed("GET, HEAD")
        return plain(200, answer.encode())


def _host_of(request: web.BaseRequest) -> str:
    """The host that a request is for: lower case, without a port and a final dot."""
    target = request.raw_path
    absolute = not target.startswith("/") and "://" in target  # then Host does not count (RFC 9112 section 3.2.2)
    host = target.partition("://")[2].partition("/")[0] if absolute else request.headers.get("Host", "")
    host = host.lower()
    if not host.startswith("["):
        host = host.partition(":")[0]
    return host.removesuffix(".")


def _not_allowed(allowed: str) -> web.Response:
    response = plain(405)
    response.headers["Allow"] = allowed
    return response
