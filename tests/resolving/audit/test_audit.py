"""resolving/audit/audit.py: all stages of a domain, in order, whatever fails or hangs."""

from __future__ import annotations

import threading
import time

import pytest

from postfix_mtasts.core.outcome import Stage as FetchStage
from postfix_mtasts.errors import FetchError
from postfix_mtasts.faults import Fault
from postfix_mtasts.resolving.audit.audit import Section, Stage, audit
from postfix_mtasts.resolving.audit.world import Held
from postfix_mtasts.resolving.tracing import inquire
from tests.support.fakes.faults import servfail
from tests.support.fakes.owned import HOST, MX, POLICY, PUBLIC, D, Owned


def test_a_domain_that_has_everything_right() -> None:
    """Every stage is told, in order, and nothing is found but that the zone is unsigned."""
    told: list[Stage] = []
    report = audit(D, Owned().world(), told.append)
    assert [stage.section for stage in told] == list(Section)
    assert tuple(told) == report.stages
    assert [found.code for found in report.findings] == ["dane-insecure"]
    assert report.verdict == "ok"


def test_a_stage_that_fails_hides_no_other() -> None:
    """Each is examined all the same."""
    owned = Owned()
    owned.records["txt", f"_mta-sts.{D}"] = servfail()
    owned.bodies[PUBLIC] = FetchError(FetchStage.HTTP, Fault.HTTP_STATUS, HOST, "404")
    owned.records["txt", f"_smtp._tls.{D}"] = ()
    report = owned.audit()
    assert [found.code for found in report.findings] == ["dns-failed", "host-http", "dane-insecure", "tlsrpt-absent"]
    assert [stage.section for stage in report.stages] == list(Section)


ANSWERS = [
    ("a policy", {}, "OK secure match=mx.example.com servername=hostname"),
    (
        "no record",
        {("txt", f"_mta-sts.{D}"): ()},
        "NOTFOUND (no TXT record at _mta-sts.example.com begins with v=STSv1;)",
    ),
    ("no address", {("a", HOST): ()}, "NOTFOUND (sts-policy-fetch-error: mta-sts.example.com has no address)"),
]


@pytest.mark.parametrize(("title", "records", "answer"), ANSWERS, ids=[row[0] for row in ANSWERS])
def test_check_and_query_cannot_differ(title: str, records: dict[tuple[str, str], object], answer: str) -> None:
    """What Postfix gets is what the daemon's own lookup makes of the same world."""
    owned = Owned()
    owned.records |= records
    world = owned.world()
    report = audit(D, world)
    assert report.answers["postfix"] == answer
    from postfix_mtasts.core.ports import Sources

    sources = Sources(world.dns, world.hosts, world.clock, False)
    asked = inquire(
        D, D.encode(), "postfix", world.maps["postfix"], world.lookup, sources, tick=time.monotonic, waiting=print
    )
    assert report.answers["postfix"].startswith(asked.answer)


def test_a_host_that_hangs_ends_with_the_domains_time() -> None:
    """What is known by then is told."""
    owned = Owned(hanging=threading.Event())
    report = owned.audit(seconds=5.5)
    assert owned.hanging is not None
    owned.hanging.set()
    assert report.seconds < 15
    found = {each.code for each in report.findings}
    assert "host-unreachable" in found
    assert [stage.section for stage in report.stages] == list(Section)


def test_a_policy_to_be_published_is_judged_in_place_of_the_one_that_is() -> None:
    """publish set asks so before a change."""
    report = audit(D, Owned().world(), instead=POLICY.replace(b"mx.example", b"other.example"))
    assert {"mx-uncovered", "mx-unused"} <= {found.code for found in report.findings}
    assert report.answers["postfix"] == "OK secure match=other.example.com servername=hostname"


HELD = [
    ("the same policy", Held("1", POLICY.decode().replace("\r\n", "\n").strip()), False),
    ("another policy under another id", Held("2", "old"), False),
    ("another policy under the same id", Held("1", "old"), True),
    ("nothing", None, False),
]


@pytest.mark.parametrize(("title", "held", "want"), HELD, ids=[row[0] for row in HELD])
def test_a_changed_policy_needs_a_new_id(title: str, held: Held | None, want: bool) -> None:
    """Senders look for a changed policy only when the id changes (RFC 8461 section 3.1)."""
    assert ("id-unchanged" in Owned().codes(held=lambda domain: held)) is want


def test_without_mail_no_host_is_connected_to() -> None:
    """What DNS alone can tell stays."""
    owned = Owned()
    owned.records["a", MX] = servfail()
    assert owned.codes(looks=None) == ["dns-failed"]
    assert not owned.looked
