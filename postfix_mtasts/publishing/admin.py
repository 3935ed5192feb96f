"""admin.listen: the dashboard, the TLS reports, /metrics and /healthz.

No authentication: the address is a loopback one, or a proxy stands in front.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from .. import __version__
from ..core.policy import Mode
from ..errors import StoreError
from ..process.memory import resident
from .dashboard import page, policy_of
from .overview import Overview
from .threads import in_thread

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Admin:
    """Answers requests of the administrator's port."""

    def __init__(
        self,
        look: Callable[[], Overview],
        unwell: Callable[[], list[str]],
        reports: Callable[[], str],
        more: Callable[[], Iterable[Metric]] = lambda: (),
    ) -> None:
        """Take what each path shows.

        Args:
            unwell: gives a sentence for each thing that is wrong.
            reports: makes the page of the TLS reports; it may block, and raise StoreError.
            more: further metrics; they may block.
        """
        self._look, self._unwell, self._reports = look, unwell, reports
        self._registry = CollectorRegistry()
        self._registry.register(_Collector(look, more))

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        if request.path == "/":
            return _html(await in_thread(lambda: page(self._look())))
        if request.path == "/reports":
            try:
                return _html(await in_thread(self._reports))
            except StoreError as error:
                return web.Response(status=503, text=f"{error}\n")
        if request.path == "/metrics":
            body = await in_thread(lambda: generate_latest(self._registry))
            return web.Response(body=body, headers={"Content-Type": METRICS_TYPE})
        if request.path == "/healthz":
            faults = self._unwell()
            return web.Response(status=503 if faults else 200, text="\n".join(faults or ["ok"]) + "\n")
        return web.Response(status=404, text="not found\n")


def _html(text: str) -> web.Response:
    headers = {
        "Content-Security-Policy": policy_of(text),
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)


class _Collector:
    """The metrics of what is served, made when they are asked for."""

    def __init__(self, look: Callable[[], Overview], more: Callable[[], Iterable[Metric]]) -> None:
        self._look, self._more = look, more

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        overview = self._look()
        requests = CounterMetricFamily("mtasts_serve_requests", "Requests answered, by status code.", labels=["code"])
        for code, number in sorted(overview.requests.items()):
            requests.add_metric([code], number)
        yield requests
        policies = GaugeMetricFamily("mtasts_serve_policies", "Domains served, by mode of policy.", labels=["mode"])
        for mode in Mode:
            policies.add_metric([str(mode)], sum(domain.mode == mode for domain in overview.domains))
        yield policies
        yield GaugeMetricFamily("mtasts_serve_faults", "Policy files that are refused.", len(overview.faults))
        expiry = GaugeMetricFamily(
            "mtasts_serve_certificate_expiry_timestamp_seconds", "When certificates end.", labels=["name"]
        )
        current = GaugeMetricFamily(
            "mtasts_serve_dns_current", "Whether DNS names the policy that is served.", labels=["domain"]
        )
        for domain in overview.domains:
            if domain.certificate_end is not None:
                expiry.add_metric([f"mta-sts.{domain.domain}"], domain.certificate_end)
            current.add_metric([domain.domain], domain.dns_current)
        for name, end in overview.more_certificates.items():
            expiry.add_metric([name], end)
        yield expiry
        yield current
        yield from _own()
        yield from self._more()


def _own() -> Iterator[Metric]:
    """Yield the version, and what the process takes, under the daemon's names."""
    yield InfoMetricFamily("mtasts_build", "Which version this is.", {"version": __version__})
    if (memory := resident()) is not None:
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory of this process in RAM.", memory)
    yield CounterMetricFamily("process_cpu_seconds", "Processor time that this process took.", time.process_time())
