"""publishing/{overview,dashboard,admin}.py: one page that shows hostile text as text, and numbers that add up."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from aiohttp.test_utils import make_mocked_request
from prometheus_client.core import Metric

from postfix_mtasts import __version__
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.publication import WITHDRAWN, policy_id, publish, withdraw
from postfix_mtasts.publishing.admin import Admin
from postfix_mtasts.publishing.certificates import Certificate, Failure
from postfix_mtasts.publishing.checks import Checked, Remark
from postfix_mtasts.publishing.dashboard import page, policy_of
from postfix_mtasts.publishing.dnsrecord import Seen, Written
from postfix_mtasts.publishing.overview import DomainView, Overview, problems_of, view_domains
from postfix_mtasts.publishing.publisher import Served

NOW = 1_700_000_000.0
TEXT = b"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800\n"
HOSTILE = "<script>alert(1)</script>\"'>&\x1b[31m\u202e"
GOOD, GONE = Domain("example.com"), Domain("withdrawn.example")


def overview() -> Overview:
    current = publish(None, GOOD, TEXT, parse_policy(TEXT), NOW)
    table = {
        GOOD: Served(TEXT, parse_policy(TEXT), current),
        GONE: Served(WITHDRAWN, parse_policy(WITHDRAWN), withdraw(replace(current, domain=GONE), NOW)),
    }
    remark = Remark("mail-starttls", "error", HOSTILE, HOSTILE, HOSTILE)
    domains = view_domains(
        table,
        {GOOD: HOSTILE},
        {"mta-sts.example.com": Certificate(b"", NOW, NOW + 1000)},
        problems_of({"mta-sts.withdrawn.example": Failure(1, NOW, HOSTILE)}),
        {GOOD: Written(policy_id(TEXT)), GONE: Written(None, None, 2, NOW, HOSTILE)},
        {GOOD: Seen(policy_id(TEXT), NOW), GONE: Seen(HOSTILE, NOW)},
        {GOOD: Checked(NOW, "error", (remark,))},
    )
    return Overview(
        domains,
        {GOOD: HOSTILE, "new.example": HOSTILE},
        {"200": 7, "404": 2},
        3,
        NOW,
        {"reports.example": 1_700_002_000.0},
    )


def view(domain: Domain) -> DomainView:
    return next(view for view in overview().domains if view.domain == domain)


def test_what_is_known_of_a_domain() -> None:
    """From all the parts."""
    good, gone = view(GOOD), view(GONE)
    assert (good.mode, good.max_age, good.id, good.dns_current) == ("enforce", 604800, policy_id(TEXT), True)
    assert (good.certificate_end, good.withdrawn_until) == (NOW + 1000, None)
    assert (gone.mode, gone.dns_current, gone.withdrawn_until) == ("none", False, NOW + 604800)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_hostile_text_is_shown_as_text() -> None:
    """No tag comes from it, and nothing is loaded."""
    html = page(overview())
    tags = _Tags()
    tags.feed(html)
    assert "script" not in tags.tags
    assert set(tags.links) == {"/", "/reports", "/metrics"}
    assert "&lt;script&gt;" in html


def test_control_and_bidi_characters_are_made_visible() -> None:
    """They could turn a line around."""
    html = page(overview())
    assert "\x1b" not in html
    assert "\u202e" not in html


def test_the_style_is_the_one_that_the_header_permits() -> None:
    """Else a browser would show the page bare."""
    style = re.search("<style>(.*?)</style>", page(overview()), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy_of(page(overview()))


@pytest.mark.parametrize(("number", "words"), [(0, ": 0 findings<"), (1, ": 1 finding<"), (2, ": 2 findings<")])
def test_findings_are_counted_in_words(number: int, words: str) -> None:
    """One finding is not "1 findings"."""
    seen = overview()
    remarks = (Remark("mail-starttls", "error", "a", "b", "c"),) * number
    domain = replace(seen.domains[0], checked=Checked(NOW, "error", remarks))
    assert words in page(replace(seen, domains=(domain,)))


def test_an_empty_folder_says_what_to_do() -> None:
    """On a page of its own."""
    assert "publish set DOMAIN" in page(Overview((), {}, {}, 0, NOW))


def get(
    path: str,
    method: str = "GET",
    faults: tuple[str, ...] = (),
    more: Callable[[], Iterable[Metric]] = lambda: (),
) -> tuple[int, str, dict[str, str]]:
    admin = Admin(overview, lambda: list(faults), lambda: "<style></style>", more)
    response = asyncio.run(admin.handle(make_mocked_request(method, path)))
    body = response.body or b""  # type: ignore[attr-defined]
    return response.status, body.decode(), dict(response.headers)


METRICS = [
    'mtasts_serve_requests_total{code="200"} 7.0',
    'mtasts_serve_policies{mode="enforce"} 1.0',
    'mtasts_serve_policies{mode="none"} 1.0',
    "mtasts_serve_faults 2.0",
    'mtasts_serve_certificate_expiry_timestamp_seconds{name="mta-sts.example.com"} 1.700001e+09',
    'mtasts_serve_certificate_expiry_timestamp_seconds{name="reports.example"} 1.700002e+09',
    'mtasts_serve_dns_current{domain="example.com"} 1.0',
    'mtasts_serve_dns_current{domain="withdrawn.example"} 0.0',
]


def test_metrics_of_the_process() -> None:
    """Under the names that every dashboard knows, and which version it is."""
    text = get("/metrics")[1]
    for name in ("process_resident_memory_bytes", "process_cpu_seconds_total"):
        (number,) = re.findall(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert float(number) > 0
    assert f'mtasts_build_info{{version="{__version__}"}} 1.0' in text.splitlines()


@pytest.mark.parametrize("line", METRICS)
def test_metrics(line: str) -> None:
    """Each with its labels."""
    assert line in get("/metrics")[1].splitlines()


def test_health_is_a_sentence_a_fault() -> None:
    """200 while there is none."""
    assert get("/healthz")[:2] == (200, "ok\n")
    assert get("/healthz", faults=("one", "two"))[:2] == (503, "one\ntwo\n")


def test_other_paths_and_methods() -> None:
    """Are refused."""
    assert get("/x")[0] == 404
    assert get("/", "POST")[0] == 405


def test_the_page_is_sent_with_its_policy() -> None:
    """And is not kept by caches."""
    status, html, headers = get("/")
    assert status == 200
    assert headers["Content-Security-Policy"] == policy_of(html)
    assert headers["Cache-Control"] == "no-store"
