"""publishing/dnsrecord.py: the id in DNS follows what is served, whatever fails on the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.errors import DnsError, UpdateError
from postfix_mtasts.faults import Fault
from postfix_mtasts.publishing.dnsrecord import READ_EVERY, READ_SOON, Records

D = Domain("example.com")
HOUR = 3_600.0
RUA = "v=TLSRPTv1; rua=mailto:r@example.com"


class Zone:
    """A name server that takes updates, and whose answers a test may change by hand."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.updates: list[tuple[str, str | None]] = []
        self.fails = False
        self.silent = False

    def replace_txt(self, name: str, text: str | None) -> None:
        if self.fails:
            raise UpdateError("127.0.0.1:53 does not answer")
        self.updates.append((name, text))
        self.texts.pop(name, None)
        if text is not None:
            self.texts[name] = text

    def txt(self, name: str) -> list[bytes]:
        if self.silent:
            raise DnsError(Fault.DNS_TIMEOUT, "_mta-sts.example.com")
        return [self.texts[name].encode()] if name in self.texts else []


class World:
    def __init__(self, folder: Path, *, updates: bool = True, tlsrpt: str | None = None) -> None:
        self.zone, self.now = Zone(), 1_700_000_000.0
        self._made = folder, updates, tlsrpt
        self.restart()

    def restart(self) -> None:
        folder, updates, tlsrpt = self._made
        self.records = Records(folder, self.zone if updates else None, self.zone.txt, tlsrpt, lambda: self.now)

    def attend(self, wanted: str | None) -> None:
        self.records.want({D: wanted} if wanted is not None else {})
        self.records.attend(D, wanted)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_the_id_is_written_once_and_read_back(world: World) -> None:
    """And not again while nothing changes, over a restart too."""
    world.attend("a1")
    world.attend("a1")
    world.restart()
    world.attend("a1")
    assert world.zone.updates == [("_mta-sts.example.com", "v=STSv1; id=a1;")]
    assert world.records.is_current(D)


def test_another_policy_replaces_the_record(world: World) -> None:
    """There is one record at a time."""
    world.attend("a1")
    world.attend("b2")
    assert world.zone.texts == {"_mta-sts.example.com": "v=STSv1; id=b2;"}
    assert world.records.is_current(D)


def test_a_failed_update_is_tried_again_with_back_off(world: World) -> None:
    """From a minute to an hour, over restarts."""
    world.zone.fails = True
    waits = [60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, HOUR, HOUR]
    for wait in waits:
        world.attend("a1")
        world.restart()
        world.now += wait - 1
        failures = world.records.written[D].failures
        world.attend("a1")
        assert world.records.written[D].failures == failures
        world.now += 1
    assert world.records.written[D].failures == len(waits)
    world.zone.fails = False
    world.attend("a1")
    assert world.zone.updates == [("_mta-sts.example.com", "v=STSv1; id=a1;")]
    assert world.records.written[D].failures == 0


def test_a_change_while_updates_fail_leads_to_the_newest_id(world: World) -> None:
    """What was never written is never written."""
    world.zone.fails = True
    world.attend("a1")
    world.zone.fails = False
    world.now += HOUR
    world.attend("b2")
    assert [text for _, text in world.zone.updates] == ["v=STSv1; id=b2;"]


def test_a_domain_that_is_served_no_more_loses_the_record_that_we_wrote(world: World) -> None:
    """One that we did not write stays."""
    world.attend("a1")
    world.attend(None)
    assert world.zone.updates[-1] == ("_mta-sts.example.com", None)
    world.restart()
    assert world.records.written == {}


def test_what_another_hand_changed_is_written_anew(world: World) -> None:
    """At the second look: at the first it may be a resolver's memory."""
    world.attend("a1")
    world.zone.texts["_mta-sts.example.com"] = "v=STSv1; id=other;"
    world.now += READ_EVERY
    world.attend("a1")
    assert not world.records.is_current(D)
    world.now += READ_SOON
    world.attend("a1")
    world.attend("a1")
    assert world.zone.texts["_mta-sts.example.com"] == "v=STSv1; id=a1;"
    assert world.records.is_current(D)


def test_a_silent_resolver_makes_nothing_current_and_nothing_wrong(world: World) -> None:
    """It is asked again."""
    world.zone.silent = True
    world.attend("a1")
    assert not world.records.is_current(D)
    world.zone.silent = False
    world.attend("a1")
    assert world.records.is_current(D)


def test_without_updates_the_log_says_once_what_to_publish(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And DNS is looked at all the same."""
    caplog.set_level("INFO", "postfix_mtasts")
    world = World(tmp_path, updates=False)
    world.attend("a1")
    world.attend("a1")
    assert caplog.text.count("record-to-publish") == 1
    assert "v=STSv1; id=a1;" in caplog.text
    assert not world.records.is_current(D)
    world.zone.texts["_mta-sts.example.com"] = "v=STSv1; id=a1;"
    world.now += READ_SOON
    world.attend("a1")
    assert world.records.is_current(D)


def test_report_addresses_are_written_beside_and_outlive_a_withdrawal(tmp_path: Path) -> None:
    """Reports about DANE go on."""
    world = World(tmp_path, tlsrpt=RUA)
    world.attend("a1")
    assert world.zone.texts == {"_mta-sts.example.com": "v=STSv1; id=a1;", "_smtp._tls.example.com": RUA}
    world.attend(None)
    assert world.zone.texts == {"_smtp._tls.example.com": RUA}


def test_what_another_version_wrote_is_left_out(world: World, tmp_path: Path) -> None:
    """It costs one update, not the start."""
    (tmp_path / "records" / f"{D}.json").write_text('{"unknown": 1}')
    world.restart()
    assert world.records.written == {}
