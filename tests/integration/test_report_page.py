"""The page of `report html` in a real browser: wide and narrow, light and dark, without script, by keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mtasts.adapters.reportdb import ReportDb
from postfix_mtasts.adapters.reportsums import Window
from postfix_mtasts.core.tlsreport import Hints, read_reports
from postfix_mtasts.core.trust import UNCHECKED
from postfix_mtasts.reports.page import look, render
from tests.support.fakes.reports import DAY, JUNE, detail, document, policy
from tests.support.servers.browser import ENTER, TAB, Browser

pytestmark = pytest.mark.timeout(300)

WIDTHS = (1280, 768, 360)
EVIL = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">{{7*7}}\u202e\u2066\x1b[2J"
EVIL += "\x9b" + "W" * 2_000
PICTURES = os.environ.get("TESTS_PICTURES")  # a directory for pictures of the pages, to look at


def month() -> list[bytes]:
    """Four senders, one MX host broken from the 12th on."""
    documents = []
    for day in range(30):
        for size, name in enumerate(("Google Inc.", "Microsoft Corporation", "Mail.ru", "Müller & Söhne GmbH")):
            sessions = 4000 // 4**size
            bad = sessions // 3 if day >= 11 else 0
            details = [detail(bad, mx="mx2.example.org", reason="x509: certificate has expired")] if bad else []
            if day == 3 and size == 0:
                bad, details = bad + 2, [*details, detail(2, "sts-policy-fetch-error", "")]
            lines = ["version: STSv1", "mode: testing", "mx: mx1.example.org", "mx: mx2.example.org", "max_age: 86400"]
            item = policy(sessions - bad, bad, *details, lines=lines)
            documents.append(document(item, day=JUNE + day * DAY, id=f"{day}", organization=name))
    return documents


def hostile() -> list[bytes]:
    items = [
        policy(
            5,
            3,
            detail(3, f"{EVIL}{n}", f"{EVIL}{n}", sender=EVIL, reason=EVIL),
            domain=f"{EVIL}{n}",
            type=EVIL,
            lines=[EVIL],
        )
        for n in range(20)
    ]
    return [document(*items, id=EVIL, organization=EVIL)]


PAGES = {"month": month, "hostile": hostile, "well": lambda: [document(policy(5))], "empty": list}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Where each page is."""
    directory, found = tmp_path_factory.mktemp("pages"), {}
    for name, make in PAGES.items():
        with ReportDb(directory / name, durable=False) as store:
            for data in make():
                store.take(data, Hints(), read_reports(data), UNCHECKED, float(JUNE))
            path = directory / f"{name}.html"
            path.write_text(
                render(look(store, Window(JUNE, JUNE + 40 * DAY)), float(JUNE + 30 * DAY)), encoding="utf-8"
            )
        found[name] = path.as_uri()
    return found


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


def keep_picture(browser: Browser, name: str) -> None:
    if PICTURES:
        Path(PICTURES, f"{name}.png").write_bytes(browser.picture())


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_fits_every_screen(browser: Browser, pages: dict[str, str], page: str, width: int, dark: bool) -> None:
    """Nothing lies outside, no text is smaller than 12 pixels, and ink and paper differ."""
    browser.look(width, dark=dark)
    browser.open(pages[page])
    keep_picture(browser, f"{page}-{width}-{'dark' if dark else 'light'}")
    assert browser.run("return document.documentElement.scrollWidth") <= width
    outside = browser.run(
        "return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, svg, .skip, thead') "
        "&& e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"
    )
    assert outside == []
    small = browser.run(
        "return [...document.querySelectorAll('body *')]"
        ".filter(e => parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert small == 0
    paper, ink = browser.run("const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]")
    assert (brightness(paper) < brightness(ink)) == dark
    assert abs(brightness(paper) - brightness(ink)) > 150
    assert browser.complaints() == []


def brightness(color: str) -> float:
    numbers = [float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3]]
    return sum(numbers) / 3


def test_hostile_text_is_text(browser: Browser, pages: dict[str, str]) -> None:
    """No script runs, no element is made, no name turns the line around."""
    browser.look(1280)
    browser.open(pages["hostile"])
    assert browser.run("return document.title") == "TLS reports"
    assert browser.run("return document.querySelectorAll('script, img, iframe, link, form, object').length") == 0
    text = browser.run("return document.body.textContent")
    assert "<script>document.title='owned'</script>" in text
    assert "{{7*7}}\\u{202e}\\u{2066}\\u{1b}[2J\\u{9b}WWW" in text
    assert browser.complaints() == []


def test_the_advice_is_on_a_phone_s_screen(browser: Browser, pages: dict[str, str]) -> None:
    """Without a sideways scroll; and verdict comes first."""
    browser.look(360)
    browser.open(pages["month"])
    left, right, width = browser.run(
        "const r = document.querySelector('.advice').getBoundingClientRect(); return [r.left, r.right, r.width]"
    )
    assert left >= 0
    assert right <= 360
    assert width > 200
    assert browser.run("return document.querySelector('main h2').textContent.trim()").endswith("sessions failed")
    label = browser.run("return getComputedStyle(document.querySelector('.advice'), '::before').content")
    assert label == '"What to do"'


def test_the_charts_are_drawn(browser: Browser, pages: dict[str, str]) -> None:
    """A mark for each day, as high as its sessions; failures can be seen where there are any."""
    browser.look(1280)
    browser.open(pages["month"])
    bars = browser.run(
        "const height = (g, c) => { const r = g.querySelector('.' + c);"
        " return r ? r.getBoundingClientRect().height : 0 };"
        "return [...document.querySelectorAll('[data-chart=day] g')].map("
        "g => [+g.dataset.successful + +g.dataset.failed, height(g, 'successful'), height(g, 'failed')])"
    )
    assert len(bars) == 30
    highest = max(sessions for sessions, _, _ in bars)
    for sessions, whole, _ in bars:
        assert whole == pytest.approx(150 * sessions / highest, abs=1)
    assert all(failed >= 3 for _, _, failed in bars[11:])
    assert [failed for _, _, failed in bars[:11]] == [0, 0, 0, 3, *[0] * 7]
    for chart in ("result", "mx", "source"):
        widths = browser.run(
            f"return [...document.querySelectorAll('[data-chart={chart}] g')].map(g => g.getBoundingClientRect().width)"
        )
        assert len(widths) >= 2
        assert min(widths) > 0


def test_the_page_can_be_used_by_keyboard(browser: Browser, pages: dict[str, str]) -> None:
    """Skip link, tables behind their summaries, and scrolling tables: all are reached, and it shows."""
    browser.look(1280)
    browser.open(pages["month"])
    reached = []
    for _ in range(40):
        browser.press(TAB)
        where = browser.run("const e = document.activeElement; return [e.tagName, getComputedStyle(e).outlineStyle]")
        if where[0] == "BODY":
            break
        reached.append(where)
    assert [tag for tag, _ in reached].count("A") == 1
    assert reached[0][0] == "A"
    assert [tag for tag, _ in reached].count("SUMMARY") == 3
    assert {outline for _, outline in reached} == {"solid"}
    browser.open(pages["month"])
    browser.press(TAB, TAB)
    assert browser.run("return document.activeElement.tagName") == "SUMMARY"
    browser.press(ENTER)
    assert browser.run("return document.activeElement.parentElement.open") is True
    assert browser.run("return document.activeElement.parentElement.querySelectorAll('tbody tr').length") == 30


def test_without_script_nothing_is_missing(tmp_path: Path, pages: dict[str, str], browser: Browser) -> None:
    """The same text and the same picture."""
    browser.look(1280)
    browser.open(pages["month"])
    usual = browser.picture()
    with Browser(tmp_path, script=False) as plain:
        plain.look(1280)
        plain.open(pages["month"])
        assert plain.picture() == usual
