"""`check` against real policy hosts, mail servers and DNS: each code where it belongs, and nowhere else.

FAULTS is the table: what is published, what is found, how grave it is. A
domain that has everything right shows that none of the codes comes unasked.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.core.findings.owner import TABLE
from tests.support.network import fresh_network
from tests.support.servers.certificates import DAY, Authority, self_signed
from tests.support.servers.hostile_https import PolicyHost, answer, hangs, says, says_plainly, tls
from tests.support.servers.internet import policy
from tests.support.servers.proxies import asked, tunnels
from tests.support.waiting import wait_until
from tests.support.worlds.owner import OwnerWorld, codes

PERFECT = "perfect.test"
Prepare = Callable[[OwnerWorld, str], Any]
Found = tuple[str, str, str]  # code, severity, what the subject holds


class AllBut(set[str]):
    """Every name is signed but these."""

    def __contains__(self, name: object) -> bool:
        return not any(str(name).endswith(unsigned) for unsigned in list(self))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnerWorld]:
    with fresh_network(), OwnerWorld(tmp_path_factory.mktemp("owner")) as world:
        world.dns.secure = AllBut({"unsigned.test"})
        world.publish(PERFECT, hosts=("mx1", "mx2"), addresses=2)
        yield world


@pytest.fixture(scope="module")
def reports(world: OwnerWorld) -> dict[str, dict[str, Any]]:
    """All scenarios, in one run of the command."""
    for title, prepare, _ in FAULTS:
        prepare(world, domain_of(title))
    done = world.run("check", "--json", *(domain_of(title) for title, _, _ in FAULTS), PERFECT)
    assert done.stderr == ""
    return {report["domain"]: report for report in map(json.loads, done.stdout.splitlines())}


def domain_of(title: str) -> str:
    return title.lower().replace(" ", "-").replace(",", "").replace("_", "").replace(".", "-") + ".test"


def changed(kind: str, label: str, *data: str) -> Prepare:
    """A domain of which one DNS answer is other than it should be."""

    def prepare(world: OwnerWorld, domain: str) -> None:
        world.publish(domain)
        name = f"{label}.{domain}" if label else domain
        world.dns.records[name, kind] = list(data)
        if not data:
            del world.dns.records[name, kind]

    return prepare


def behaves(kind: str, label: str, behaviour: str) -> Prepare:
    def prepare(world: OwnerWorld, domain: str) -> None:
        world.publish(domain)
        world.dns.behaviours[f"{label}.{domain}" if label else domain, kind] = behaviour

    return prepare


def serves(body: bytes) -> Prepare:
    return lambda world, domain: world.publish(domain, body=body)


def host(make: Callable[[OwnerWorld, str], Any]) -> Prepare:
    """A domain with another policy host."""
    return lambda world, domain: world.publish(domain, script=make(world, domain))


def says_at(*how: Any, **more: Any) -> Prepare:
    return host(
        lambda world, domain: tls(world.authority.issue(f"mta-sts.{domain}", ends=90 * DAY), says(answer(*how, **more)))
    )


def certified(**how: Any) -> Prepare:
    return host(lambda world, domain: world.serves(domain, policy(f"mx.{domain}", max_age=2_592_000), **how))


def signed_by_nobody(world: OwnerWorld, domain: str) -> Any:
    return tls(self_signed(f"mta-sts.{domain}", 90 * DAY), says(answer(policy(f"mx.{domain}"))))


def old_tls(world: OwnerWorld, domain: str) -> Any:
    return tls(world.authority.issue(f"mta-sts.{domain}"), says(answer(b"")), newest=ssl.TLSVersion.TLSv1_1)


def second_host(world: OwnerWorld, domain: str) -> None:
    world.publish(domain)
    world.policy_host(domain, world.serves(domain, policy(f"mx.{domain}", max_age=2_592_001)))


def dead_address(world: OwnerWorld, domain: str) -> None:
    world.publish(domain)
    world.dns.records[f"mta-sts.{domain}", "A"].append("127.250.0.1")


def mx_certificate(make: Callable[[OwnerWorld, str], bytes]) -> Prepare:
    """A second address of the one MX host, with another certificate."""

    def prepare(world: OwnerWorld, domain: str) -> None:
        site = world.publish(domain, tlsa=False)
        world.mail_host(site, f"mx.{domain}", make(world, f"mx.{domain}"))

    return prepare


def without_intermediate(world: OwnerWorld, name: str) -> bytes:
    return Authority.under(world.authority).issue(
        name, ends=90 * DAY, with_chain=False, issuer_url="http://ca.test/intermediate.crt"
    )


def mx_starttls(how: Any, mode: str = "enforce") -> Prepare:
    return lambda world, domain: world.publish(domain, starttls=how, tlsa=False, mode=mode)


def dead_mail(world: OwnerWorld, domain: str, only: bool = True, mode: str = "enforce") -> None:
    world.publish(domain, tlsa=False, mode=mode)
    addresses = world.dns.records[f"mx.{domain}", "A"]
    world.dns.records[f"mx.{domain}", "A"] = [*([] if only else addresses), "127.250.0.2"]


def null_mx(mode: str) -> Prepare:
    def prepare(world: OwnerWorld, domain: str) -> None:
        world.publish(domain, mode=mode, body=policy(f"mx.{domain}", mode=mode, max_age=2_592_000))
        world.dns.records[domain, "MX"] = ["0 ."]

    return prepare


def alias_mx(world: OwnerWorld, domain: str) -> None:
    world.publish(domain, tlsa=False)
    address = world.dns.records.pop((f"mx.{domain}", "A"))
    world.dns.records[f"mx.{domain}", "CNAME"] = [f"real.{domain}."]
    world.dns.records[f"real.{domain}", "A"] = address


def alias_record(world: OwnerWorld, domain: str) -> None:
    world.publish(domain)
    world.dns.records[f"_mta-sts.{domain}", "CNAME"] = [f"a.{domain}."]
    world.dns.records[f"a.{domain}", "CNAME"] = [f"b.{domain}."]
    world.dns.records[f"b.{domain}", "TXT"] = world.dns.records.pop((f"_mta-sts.{domain}", "TXT"))


def stored(world: OwnerWorld, domain: str) -> None:
    """The local store holds another policy under the same id."""
    world.publish(domain)
    text = policy(f"old.{domain}").decode()
    row = {"domain": domain, "record_id": "20260101", "fetched_at": 1.7e9, "used_at": 1.7e9, "policy": text}
    row["fetched_at"] = row["used_at"] = time.time()
    done = world.run("cache", "import", input=json.dumps(row) + "\n")
    assert done.returncode == 0, done.stderr


E, W, I, U = "error", "warning", "info", "unknown"  # noqa: E741

FAULTS: list[tuple[str, Prepare, list[Found]]] = [
    # the record
    ("record answer fails", behaves("TXT", "_mta-sts", "SERVFAIL"), [("dns-failed", U, "_mta-sts.")]),
    ("no record", changed("TXT", "_mta-sts"), [("record-absent", E, "_mta-sts.")]),
    ("a DMARC record", changed("TXT", "_mta-sts", '"v=DMARC1; p=reject"'), [("record-absent", E, "_mta-sts.")]),
    (
        "two records",
        changed("TXT", "_mta-sts", '"v=STSv1; id=1;"', '"v=STSv1; id=2;"'),
        [("record-multiple", E, "_mta-sts.")],
    ),
    ("record without id", changed("TXT", "_mta-sts", '"v=STSv1;"'), [("record-invalid", E, "_mta-sts.")]),
    ("STS1", changed("TXT", "_mta-sts", '"v=STS1; id=1"'), [("record-invalid", E, "_mta-sts.")]),
    ("record at the domain", changed("TXT", "", '"v=STSv1; id=1;"'), [("record-misplaced", E, "")]),
    ("record at mta-sts", changed("TXT", "mta-sts", '"v=STSv1; id=1;"'), [("record-misplaced", E, "mta-sts.")]),
    ("record alias", alias_record, [("record-alias", I, "_mta-sts.")]),
    # the policy host
    ("no policy host", changed("A", "mta-sts"), [("host-absent", E, "mta-sts.")]),
    (
        "no policy host answers",
        changed("A", "mta-sts", "127.250.0.1", "127.250.0.2"),
        [("host-unreachable", E, "127.250.0.1"), ("host-unreachable", E, "127.250.0.2")],
    ),
    ("one address is dead", dead_address, [("host-unreachable", W, "127.250.0.1")]),
    ("IPv6 here", changed("AAAA", "mta-sts", "2001:4860:4860::8888"), [("ipv6-untried", I, "mta-sts.")]),
    ("TLS 1.1", host(old_tls), [("host-tls", E, "127.")]),
    ("no TLS", host(lambda world, domain: says_plainly(b"HTTP/1.1 200 OK\r\n\r\n")), [("host-tls", E, "127.")]),
    ("silent at TLS", host(lambda world, domain: hangs), [("host-tls", E, "127.")]),
    ("expired policy host", certified(begins=-9 * DAY, ends=-2 * DAY), [("host-certificate-expired", E, "127.")]),
    ("not yet valid", certified(begins=DAY, ends=99 * DAY), [("host-certificate-expired", E, "127.")]),
    ("wrong name", certified(names=("www.example.test",)), [("host-certificate-name", E, "127.")]),
    (
        "expired and wrong name",
        certified(names=("www.example.test",), begins=-9 * DAY, ends=-2 * DAY),
        [("host-certificate-expired", E, "127."), ("host-certificate-name", E, "127.")],
    ),
    ("self-signed policy host", host(signed_by_nobody), [("host-certificate-untrusted", E, "127.")]),
    ("expiring policy host", certified(ends=13 * DAY), [("host-certificate-expiring", W, "127.")]),
    ("status 404", says_at(b"", "404 Not Found"), [("host-http", E, "127.")]),
    ("redirect", says_at(b"", "301 Moved", headers=("Location: https://example.test/",)), [("host-http", E, "127.")]),
    (
        "redirect to slashes",
        says_at(b"", "301 Moved", headers=("Location: https://a.test//.well-known/mta-sts.txt",)),
        [("host-http", E, "127.")],
    ),
    ("HTML", says_at(b"<html>", content_type="text/html"), [("host-http", E, "127.")]),
    ("too long", says_at(b"x" * 70_000), [("host-http", E, "127.")]),
    ("two policies", second_host, [("host-differs", W, "mta-sts.")]),
    # the policy
    ("mode report", serves(policy("mx.mode-report.test", mode="report")), [("policy-invalid", E, "line 2")]),
    (
        "byte order mark",
        serves(b"\xef\xbb\xbf" + policy("mx.byte-order-mark.test", max_age=2_592_000)),
        [("policy-tolerated", W, "line 1")],
    ),
    (
        "repeated key",
        serves(policy("mx.repeated-key.test", max_age=2_592_000) + b"mode: none\r\n"),
        [("policy-repeated-key", W, "line 5")],
    ),
    (
        "unknown key",
        serves(policy("mx.unknown-key.test", max_age=2_592_000) + b"x: y\r\n"),
        [("policy-unknown-key", I, "line 5")],
    ),
    ("short max age", serves(policy("mx.short-max-age.test", max_age=3600)), [("policy-max-age", W, "line 4")]),
    ("testing", lambda world, domain: world.publish(domain, mode="testing"), [("policy-mode", I, "line 2")]),
    (
        "mx address",
        serves(policy("mx.mx-address.test", "192.0.2.1", max_age=2_592_000)),
        [("policy-mx-unusable", W, "line 4")],
    ),
    # MX
    ("MX answer fails", behaves("MX", "", "SERVFAIL"), [("dns-failed", U, "mx-answer-fails.test")]),
    (
        "no MX",
        changed("MX", ""),
        [("mx-absent", E, "no-mx.test"), ("mx-uncovered", E, "no-mx.test"), ("mx-unused", W, "mx.")],
    ),
    ("null MX", null_mx("none"), [("mx-null", I, "null-mx.test"), ("policy-mode", I, "line 2")]),
    ("null MX with a policy", null_mx("enforce"), [("mx-null", W, "")]),
    (
        "MX uncovered",
        lambda world, domain: world.publish(
            domain, hosts=("mx1", "mx2"), body=policy(f"mx1.{domain}", max_age=2_592_000)
        ),
        [("mx-uncovered", E, "mx2.")],
    ),
    (
        "MX uncovered while testing",
        lambda world, domain: world.publish(
            domain, hosts=("mx1", "mx2"), body=policy(f"mx1.{domain}", mode="testing", max_age=2_592_000)
        ),
        [("mx-uncovered", W, "mx2."), ("policy-mode", I, "line 2")],
    ),
    (
        "wildcard unused",
        lambda world, domain: world.publish(domain, body=policy(f"mx.{domain}", "*.other.test", max_age=2_592_000)),
        [("mx-unused", W, "*.other.test")],
    ),
    ("MX alias", alias_mx, [("mx-alias", W, "mx.")]),
    # mail hosts
    ("dead mail host", dead_mail, [("mail-unreachable", E, "127.250.0.2")]),
    (
        "dead mail host while testing",
        lambda world, domain: dead_mail(world, domain, mode="testing"),
        [("mail-unreachable", W, "127.250.0.2"), ("policy-mode", I, "line 2")],
    ),
    (
        "half dead mail host",
        lambda world, domain: dead_mail(world, domain, only=False),
        [("mail-unreachable", W, "127.250.0.2")],
    ),
    (
        "MX without address",
        lambda world, domain: (world.publish(domain, tlsa=False), world.dns.records.pop((f"mx.{domain}", "A"))),
        [("mail-unreachable", E, "mx.")],
    ),
    ("no STARTTLS", mx_starttls("withheld"), [("mail-starttls", E, "mx.")]),
    ("STARTTLS refused", mx_starttls("refused"), [("mail-starttls", E, "mx.")]),
    (
        "no STARTTLS while testing",
        mx_starttls("withheld", "testing"),
        [("mail-starttls", W, "mx."), ("policy-mode", I, "line 2")],
    ),
    ("garbled TLS", mx_starttls("garbled"), [("mail-tls", E, "mx.")]),
    (
        "expired on the second address",
        mx_certificate(lambda world, name: world.authority.issue(name, begins=-9 * DAY, ends=-DAY)),
        [("mail-certificate-expired", E, "127.")],
    ),
    (
        "mail for another name",
        mx_certificate(lambda world, name: world.authority.issue("mx.other.test", ends=90 * DAY)),
        [("mail-certificate-name", E, "127.")],
    ),
    (
        "mail by common name",
        mx_certificate(lambda world, name: world.authority.issue(common_name=name, ends=90 * DAY)),
        [("mail-certificate-name", E, "127.")],
    ),
    (
        "mail self-signed",
        mx_certificate(lambda world, name: self_signed(name, 90 * DAY)),
        [("mail-certificate-untrusted", E, "")],
    ),
    (
        "mail without intermediate",
        mx_certificate(without_intermediate),
        [("mail-certificate-untrusted", E, "127.")],
    ),
    (
        "mail expiring",
        mx_certificate(lambda world, name: world.authority.issue(name, ends=3 * DAY)),
        [("mail-certificate-expiring", W, "127.")],
    ),
    # DANE
    ("unsigned", lambda world, domain: world.publish(domain), [("dane-insecure", I, "unsigned.test")]),
    ("wrong TLSA", changed("TLSA", "_25._tcp.mx", f"3 1 1 {'00' * 32}"), [("dane-mismatch", E, "mx.")]),
    ("PKIX TLSA", changed("TLSA", "_25._tcp.mx", f"1 1 1 {'00' * 32}"), [("dane-unusable", W, "mx.")]),
    ("TLSA answer fails", behaves("TLSA", "_25._tcp.mx", "SERVFAIL"), [("dane-failed", E, "_25._tcp.mx.")]),
    # TLSRPT
    ("no TLSRPT", changed("TXT", "_smtp._tls"), [("tlsrpt-absent", W, "_smtp._tls.")]),
    (
        "TLSRPT without scheme",
        changed("TXT", "_smtp._tls", '"v=TLSRPTv1; rua=a@example.test"'),
        [("tlsrpt-invalid", E, "_smtp._tls.")],
    ),
    (
        "TLSRPT in upper case",
        changed("TXT", "_smtp._tls", '"V=TLSRPTv1; rua=mailto:a@example.test"'),
        [("tlsrpt-invalid", E, "_smtp._tls.")],
    ),
    # the local daemon
    ("id unchanged", stored, [("id-unchanged", W, "_mta-sts.")]),
]


@pytest.mark.parametrize(("title", "prepare", "want"), FAULTS, ids=[row[0] for row in FAULTS])
def test_what_is_found(reports: dict[str, dict[str, Any]], title: str, prepare: Prepare, want: list[Found]) -> None:
    """These findings and no others, apart from dane-ok; each with advice, where there is something to do."""
    report = reports[domain_of(title)]
    got = [
        (found["code"], found["severity"], found["subject"])
        for found in report["findings"]
        if found["code"] != "dane-ok"
    ]
    assert [each[:2] for each in sorted(got)] == [each[:2] for each in sorted(want)], got
    for (_, _, subject), (_, _, part) in zip(sorted(got), sorted(want), strict=True):
        assert part in subject
    for found in report["findings"]:
        assert found["advice"] or found["severity"] == I
        assert found["text"]
        assert found["reference"].startswith("RFC ")


def test_nothing_is_found_where_all_is_right(reports: dict[str, dict[str, Any]]) -> None:
    """Two MX hosts at two addresses each: only that DANE is right, which is not so in an unsigned zone."""
    report = reports[PERFECT]
    assert (report["verdict"], codes(report)) == ("ok", {"dane-ok"})
    assert "dane-ok" not in codes(reports["unsigned.test"])
    assert [len(mx["addresses"]) for mx in report["mx"]] == [2, 2]


def test_private_addresses_are_not_connected_to(world: OwnerWorld, tmp_path: Path) -> None:
    """As senders do it; by default, nothing on this machine's networks is touched."""
    shape = json.loads(world.config.read_text())
    shape["fetch"]["allow_private_addresses"] = False
    other = tmp_path / "config.yml"
    other.write_text(json.dumps(shape))
    before = len(world.mail.sessions())
    world.config, kept = other, world.config
    try:
        report = world.check(PERFECT)
    finally:
        world.config = kept
    assert codes(report) == {"host-private", "mail-private"}
    assert len(world.mail.sessions()) == before


PRIVATE = {"host-private", "mail-private"}  # by the test above


@contextmanager
def settings(world: OwnerWorld, **fetch: Any) -> Iterator[None]:
    """Have the commands run under other settings of fetch."""
    kept, shape = world.config, json.loads(world.config.read_text())
    world.config = world.directory / "other.yml"
    world.config.write_text(json.dumps({**shape, "fetch": {**shape["fetch"], **fetch}}))
    try:
        yield
    finally:
        world.config = kept


@pytest.mark.parametrize("connect", ["name", "address"])
def test_the_policy_host_is_looked_at_through_our_proxy(world: OwnerWorld, connect: str) -> None:
    """By its name, or at its address as without a proxy; mail hosts straight."""
    (address,) = world.dns.records[f"mta-sts.{PERFECT}", "A"]
    proxy = PolicyHost(asked(tunnels(443, address=address)))
    with proxy, settings(world, proxy=f"http://127.0.0.1:{proxy.port}", proxy_connect=connect):
        report = world.check(PERFECT)
    assert report["verdict"] == "ok"
    target = f"mta-sts.{PERFECT}" if connect == "name" else address
    assert [head.split()[1] for head in proxy.requests] == [f"{target}:443".encode()]


def test_a_proxy_of_ours_that_fails_is_not_the_owners_fault(world: OwnerWorld) -> None:
    """Nothing can be said about the policy host, and the rest is examined all the same."""
    before = len(world.mail.sessions())
    with settings(world, proxy="http://127.0.0.1:9"):
        report = world.check(PERFECT)
    assert codes(report) == {"proxy-failed", "dane-ok"}
    assert report["verdict"] == "unknown"
    assert len(world.mail.sessions()) > before


def test_every_code_has_its_scenario() -> None:
    """A code that nothing brings about is a code that nobody has seen work."""
    shown = {code for _, _, want in FAULTS for code, _, _ in want}
    assert shown | PRIVATE | {"dane-ok", "proxy-failed"} == set(TABLE)


def test_stages_are_shown_as_they_finish(world: OwnerWorld) -> None:
    """On a terminal: what is known of record and policy does not wait for a mail host that is silent."""
    domain = "silent.test"
    world.publish(domain, starttls="silent", tlsa=False)
    terminal, other_side = pty.openpty()
    process = subprocess.Popen(world.command("check", domain), stdout=other_side, stderr=subprocess.DEVNULL)
    try:
        os.close(other_side)
        shown = ""
        while "MX " not in shown:
            shown += os.read(terminal, 4096).decode()
        assert process.poll() is None
        assert "mail hosts" not in shown
        assert re.search(r"^record +[0-9]+ ms  \x1b\[32mok\x1b\[0m", shown, re.MULTILINE)
        assert re.search(r"^policy host +[0-9]+ ms", shown, re.MULTILINE)
    finally:
        process.kill()
        process.wait()
        os.close(terminal)


def test_a_run_broken_off_leaves_at_once(world: OwnerWorld) -> None:
    """Ctrl-C while a mail host is silent: exit code 130, and no traceback."""
    domain = "silent-too.test"
    site = world.publish(domain, starttls="silent", tlsa=False)
    (address,) = site.mx[f"mx.{domain}"]
    process = subprocess.Popen(world.command("check", domain), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_until(lambda: bool(world.mail.sessions(address)), "the mail host is greeted")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert (process.returncode, error) == (130, b"")


def test_a_shared_mail_host_sees_one_connection(world: OwnerWorld) -> None:
    """However many domains name it."""
    site = world.publish("provider.test", tlsa=False)
    (address,) = site.mx["mx.provider.test"]
    domains = [f"customer{number}.test" for number in range(40)]
    for domain in domains:
        world.publish(domain, hosts=(), body=policy("mx.provider.test", max_age=2_592_000))
        world.dns.records[domain, "MX"] = ["10 mx.provider.test."]
    done = world.run("check", "--json", *domains)
    assert done.returncode == 0, done.stdout
    assert [json.loads(line)["domain"] for line in done.stdout.splitlines()] == domains
    assert len(world.mail.sessions(address)) == 1


TOLD = [
    ("mail without intermediate", "does not send the intermediate certificate of Test Intermediate"),
    ("mail by common name", "only the certificate's common name is mx.mail-by-common-name.test"),
    ("mail for another name", "the certificate is not for mx.mail-for-another-name.test: it is for mx.other.test"),
    ("mail self-signed", "the certificate is self-signed"),
    ("not yet valid", "the certificate is not yet valid, for another"),
    ("expired policy host", "the certificate expired 2 days ago"),
    ("redirect", "status 301 points to 'https://example.test/'"),
    ("redirect to slashes", "a URL with // in its path"),
    ("no TLS", "what answers there does not speak TLS"),
    ("TLS 1.1", "the host offers no TLS 1.2 or later"),
    ("a DMARC record", "a DMARC record stands where v=STSv1 belongs: 'v=DMARC1; p=reject'"),
    ("mode report", "mode report is of an early draft"),
    ("MX alias", "is an alias of real.mx-alias.test"),
    ("wrong TLSA", "none of 1 secure TLSA records matches"),
    ("null MX with a policy", "takes no mail (null MX), and its policy is mode enforce"),
]


@pytest.mark.parametrize(("title", "words"), TOLD, ids=[row[0] for row in TOLD])
def test_what_is_told(reports: dict[str, dict[str, Any]], title: str, words: str) -> None:
    """The value that was seen, and what is told apart."""
    texts = [found["text"] for found in reports[domain_of(title)]["findings"]]
    assert any(words in text for text in texts), texts
