"""The STS attributes, which only Postfix 3.10 and later take: every shape of policy passes, and TLSRPT tells of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.fakes.datagrams import Datagrams
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet, policy
from tests.support.waiting import wait_until
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import NEW, Host, Scenario, Want

pytestmark = pytest.mark.timeout(600)  # the first of them may make a Debian 13

REAL = Path(__file__).parents[2] / "corpus"
WANTED = "v=TLSRPTv1; rua=mailto:reports@example.test"


def shape(*lines: str, end: str = "\r\n") -> bytes:
    """A policy with *lines* between the usual ones."""
    return end.join(["version: STSv1", "mode: enforce", "max_age: 604800", *lines, ""]).encode()


HOST = "mx.shapes.test"
SHAPES = {
    "lines with braces": shape("note: {a}", "a: }", "b: {", "c: {{ }} {}", f"mx: {HOST}"),
    "words of Postfix": shape(
        "policy_type: sts", "x: policy_string = y", "note: may encrypt, match=nexthop", f"mx: {HOST}"
    ),
    "signs": shape("note: \"a\", 'b' = $c; #d \\e %s %n ${f} | `g` ~ <h> [i] !", f"mx: {HOST}"),
    "many blanks": shape("note:    a    b  ", "   ", f"   mx:    {HOST}   "),
    "a tab within": shape("note: a\tb", f"mx: {HOST}"),
    "a control character": shape("note: a\x01b\x7f", f"mx: {HOST}"),
    "other alphabets": shape("note: Grüße, 你好, שלום", f"mx: {HOST}"),
    "no final line end": shape(f"mx: {HOST}", end="\n").rstrip(),
    "a byte order mark": b"\xef\xbb\xbf" + shape(f"mx: {HOST}"),
    "upper case": shape(f"mx: {HOST.upper()}", "mx: *.SHAPES.test"),
    "the same pattern 50 times": shape(*[f"mx: {HOST}"] * 50),
    "500 patterns": shape(*(f"mx: mx{number}.many.test" for number in range(499)), f"mx: {HOST}"),
    "2500 patterns": shape(*(f"mx: mx{number}.many.test" for number in range(2499)), f"mx: {HOST}"),
    "5000 short patterns": shape(*(f"mx:a{number}.bc" for number in range(4999)), f"mx: {HOST}", end="\n"),
    "a line of 30,000 characters": shape("note: " + "x" * 30_000, f"mx: {HOST}"),
    "10,000 lines": shape(*["a: b"] * 10_000, f"mx: {HOST}", end="\n"),
}
TOO_LONG = {"2500 patterns", "5000 short patterns", "10,000 lines"}  # for all of it to be told


def corpus() -> Iterator[tuple[str, bytes, str]]:
    """Each real policy that is usable, in mode enforce: its number, its text, a host that it names."""
    for line in (REAL / "expected.tsv").read_text().splitlines()[1:]:
        number, verdict, _, _, patterns = line.split("\t")
        if verdict == "usable" and patterns:
            text = (REAL / "policies" / f"{number}.txt").read_bytes()
            enforced = re.sub(rb"(?m)^(\s*mode\s*:\s*)\w+", rb"\1enforce", text)
            yield number, enforced, patterns.split()[0].replace("*", "host").lower()


CORPUS = list(corpus())


FAULTS = {  # host, code of the failure that is reported (RFC 8460 section 4.3)
    "other name": (Host(certificate="other name"), 202),
    "unknown CA": (Host(certificate="unknown CA"), 205),  # RFC 8460 has 203 for it
    "expired": (Host(certificate="expired"), 204),
    "stripped": (Host(starttls="withheld"), 201),
}
SKIPPED = "not in the policy"  # an MX host that Postfix does not even connect to


def domain_of(title: str) -> str:
    """The domain of a shape, a fault or a real policy."""
    return "shape-" + re.sub(r"\W+", "-", title).lower() + f".{NEW.label}.test"


@dataclass(frozen=True)
class Running:
    """What all tests here share."""

    postfix: Postfix
    datagrams: Datagrams
    sent: dict[str, str]  # domain: queue id

    def report(self, domain: str) -> dict[str, Any]:
        """What was reported first about *domain*."""
        wait_until(lambda: bool(self.datagrams.about(domain)), f"a report about {domain}")
        return self.datagrams.about(domain)[0]


@pytest.fixture(scope="module")
def running(
    internet: Internet,
    world: World,
    make_postfix: Callable[..., Postfix],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Running]:
    """A message to every domain here is on its way, and TLSRPT is on."""
    for title, text in SHAPES.items():
        world.add_policy(domain_of(title), text, HOST)
    for number, text, host in CORPUS:
        world.add_policy(domain_of(number), text, host)
    for title, host in [(title, host) for title, (host, _) in FAULTS.items()] + [(SKIPPED, Host("mx.elsewhere-{d}"))]:
        world.add(Scenario("", Want(), label=domain_of(title).partition(".")[0], hosts=(host,)), NEW)
    domains = [domain_of(title) for title in (*SHAPES, *(row[0] for row in CORPUS), *FAULTS, SKIPPED)]
    for domain in domains:
        world.add_record(f'_smtp._tls.{domain}. 60 IN TXT "{WANTED}"')
    world.publish()
    with ExitStack() as stack:
        daemon = stack.enter_context(Daemon(tmp_path_factory.mktemp("attributes") / "daemon", internet.config()))
        main = {
            "smtp_tls_policy_maps": daemon.table(NEW.map),
            "smtp_tlsrpt_enable": "yes",
            "smtp_tlsrpt_socket_name": "tlsrpt.socket",
        }
        postfix = make_postfix(NEW, "attributes", main)
        datagrams = stack.enter_context(Datagrams(postfix.directory / "spool" / "tlsrpt.socket"))
        ids = postfix.send(*(f"user@{domain}" for domain in domains))
        yield Running(postfix, datagrams, dict(zip(domains, ids, strict=True)))


def sendable(text: bytes) -> list[str]:
    """The lines of a policy that Postfix can be told of."""
    lines = [line.strip(" \t\r") for line in text.decode("utf-8-sig").split("\n")]
    return [line for line in lines if line.isprintable() and line and not set(line) & set("{}")]


@pytest.mark.parametrize("title", SHAPES)
def test_mail_passes_under_every_shape_of_policy(running: Running, title: str) -> None:
    """Whatever lines a policy holds, Postfix understands the answer, and reports the lines."""
    domain = domain_of(title)
    outcome = running.postfix.outcome(running.sent[domain])
    assert (outcome.status, outcome.host) == ("sent", HOST), (outcome, running.postfix.tail())
    report = running.report(domain)
    strings = report.get("policy-string", [])
    assert report["f"] == 0, report
    assert strings == sendable(SHAPES[title])[: len(strings)]
    if title not in TOO_LONG:
        assert (report["policy-type"], report["policy-domain"]) == (2, domain)
        assert len(strings) == len(sendable(SHAPES[title]))


def test_mail_passes_under_real_policies(running: Running) -> None:
    """All that are usable, set to enforce."""
    waiting = {}
    for number, text, host in CORPUS:
        outcome = running.postfix.outcome(running.sent[domain_of(number)])
        if (outcome.status, outcome.host) != ("sent", host):
            waiting[number] = outcome.text
            continue
        report = running.report(domain_of(number))
        assert (report["f"], report["policy-type"]) == (0, 2), report
        assert report["policy-string"] == sendable(text)
    assert waiting == {}
    assert len(CORPUS) > 150


@pytest.mark.parametrize("title", FAULTS)
def test_failures_are_reported_with_the_policy(running: Running, title: str) -> None:
    """Who owns the domain reads what is wrong, and under which policy."""
    domain = domain_of(title)
    assert running.postfix.outcome(running.sent[domain]).status == "deferred"
    report = running.report(domain)
    assert (report["f"], report["policy-type"], report["policy-domain"]) == (1, 2, domain), report
    assert report["policy-string"] == sendable(policy(f"mx.{domain}"))
    assert [failure["c"] for failure in report["failure-details"]] == [FAULTS[title][1]]


def test_a_host_that_the_policy_does_not_name_is_reported_by_nobody(running: Running) -> None:
    """Reports tell of handshakes; there was none."""
    domain = domain_of(SKIPPED)
    assert running.postfix.outcome(running.sent[domain]).status == "deferred"
    later = domain_of("many blanks")
    before = len(running.datagrams.about(later))
    running.postfix.send(f"user@{later}")  # datagrams come in the order in which they were sent
    wait_until(lambda: len(running.datagrams.about(later)) > before, "a later report")
    assert running.datagrams.about(domain) == []


def test_no_program_of_postfix_failed(running: Running) -> None:
    """After all of that."""
    for queue_id in running.sent.values():
        running.postfix.outcome(queue_id)
    assert running.postfix.faults() == []
