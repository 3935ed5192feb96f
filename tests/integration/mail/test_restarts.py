"""Mail while the daemon is away, comes back, is killed, or is lied to: late at worst, never in clear, never lost."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import pytest

from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import NSD
from tests.support.servers.internet import Internet
from tests.support.servers.receivers import Receivers, taken
from tests.support.waiting import wait_until
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import Host, Scenario, Version, Want

pytestmark = pytest.mark.timeout(600)  # the first of them may make a Debian 13

AWAY = "client TLS configuration problem"  # what the queue says while we cannot be asked

MESSAGES, DOMAINS, KILLS = 100, 20, 10

Note = Callable[[str, str], None]


@pytest.fixture
def daemon(internet: Internet, tmp_path: Path) -> Daemon:
    """Not started yet; a record is read again at each lookup."""
    return Daemon(tmp_path / "daemon", internet.config(refresh={"recheck": "0.1s"}, dns={"timeout": "60s"}))


@pytest.fixture
def postfix(make_postfix: Callable[..., Postfix], version: Version, daemon: Daemon) -> Postfix:
    """It has one smtp(8) process for all mail, which lives on between messages."""
    main = {"smtp_tls_policy_maps": daemon.table(version.map), "smtp_destination_concurrency_limit": "1"}
    return make_postfix(version, "restarts", main)


def honest(world: World, version: Version, label: str) -> tuple[str, str]:
    """A new domain with a policy and a host that keeps to it: the domain, the host's address."""
    scenario = Scenario("", Want(), label=label)
    (address,) = world.add(scenario, version)
    world.publish()
    return scenario.domain(version), address


def assert_delivered(postfix: Postfix, receivers: Receivers, address: str, messages: int) -> None:
    """All of them are at *address*, and each came over verified TLS."""
    sessions = receivers.sessions(address)
    assert len(list(taken(sessions))) == messages
    assert not any(session.mail_in_clear for session in sessions)
    assert postfix.tls(address) == {"Verified"}
    assert postfix.faults() == []


def test_mail_waits_for_a_daemon_that_is_down(
    daemon: Daemon, postfix: Postfix, world: World, receivers: Receivers, version: Version, note: Note
) -> None:
    """Nobody answers at the socket; nothing is sent until somebody does."""
    domain, address = honest(world, version, "down")
    (queue_id,) = postfix.send(f"user@{domain}")
    outcome = postfix.outcome(queue_id)
    note("the daemon is down", f"waits {outcome.dsn}: {outcome.text}; sent later, TLS Verified")
    assert (outcome.status, outcome.dsn, outcome.relay) == ("deferred", "4.7.5", "none")
    assert [AWAY in reason for reason in postfix.reasons(queue_id)] == [True]
    assert any("policy table lookup error" in line for line in postfix.log())
    assert receivers.sessions(address) == []
    with daemon:
        postfix.deliver_all()
    assert_delivered(postfix, receivers, address, 1)


def test_a_restart_between_two_messages_goes_unseen(
    daemon: Daemon, postfix: Postfix, world: World, receivers: Receivers, version: Version, note: Note
) -> None:
    """The same smtp(8) process asks again over a connection that has ended meanwhile."""
    domain, address = honest(world, version, "restarted")
    for _ in range(2):
        with daemon:
            (queue_id,) = postfix.send(f"user@{domain}")
            assert postfix.outcome(queue_id).status == "sent"
    processes = {match[1] for line in postfix.log() if (match := re.search(r"/smtp\[(\d+)\]: \w+: to=<", line))}
    assert len(processes) == 1
    assert not any("warning" in line for line in postfix.log())
    note("the daemon is restarted between two messages", "sent both, TLS Verified")
    assert_delivered(postfix, receivers, address, 2)


def held(release: threading.Event) -> Callable[[dns.message.Message], bytes]:
    """A DNS server that answers truly, but not before *release*."""

    def answer(query: dns.message.Message) -> bytes:
        release.wait(60)
        return dns.query.udp(query, NSD).to_wire()

    return answer


@pytest.mark.parametrize("ending", ["killed", "slow"])
def test_a_lookup_without_an_answer_keeps_mail_waiting(
    internet: Internet,
    daemon: Daemon,
    postfix: Postfix,
    world: World,
    receivers: Receivers,
    version: Version,
    note: Note,
    ending: str,
) -> None:
    """DNS does not answer: the daemon is killed meanwhile, or says TEMP when lookup.wait is over."""
    domain, address = honest(world, version, ending)
    release = threading.Event()
    daemon.configure({**daemon.config, "lookup": {"wait": "30s" if ending == "killed" else "100ms"}})
    internet.dns.break_(f"_mta-sts.{domain}", "TXT", held(release))
    with daemon:
        (queue_id,) = postfix.send(f"user@{domain}")
        if ending == "killed":
            wait_until(lambda: internet.txt_queries(domain) > 0, "the daemon looks the record up")
            daemon.kill()
        outcome = postfix.outcome(queue_id)
        note(f"the daemon is {ending} in a lookup", f"waits {outcome.dsn}: {outcome.text}; sent later, TLS Verified")
        assert (outcome.status, outcome.dsn) == ("deferred", "4.7.5")
        assert AWAY in outcome.text
        assert receivers.sessions(address) == []
        release.set()
        internet.dns.mend(f"_mta-sts.{domain}", "TXT")
        if ending == "slow":
            postfix.deliver_all()
    if ending == "killed":
        with daemon:
            postfix.deliver_all()
    assert_delivered(postfix, receivers, address, 1)


def test_an_attack_on_everything_after_the_first_message(
    internet: Internet,
    daemon: Daemon,
    postfix: Postfix,
    world: World,
    receivers: Receivers,
    version: Version,
    note: Note,
) -> None:
    """The record is gone, the policy is gone, the MX is the attacker's, its STARTTLS is stripped: mail waits."""
    domain, address = honest(world, version, "attacked")
    evil = Scenario("", Want(), label="evil", hosts=(Host(starttls="withheld"),), mx=None, record="")
    (attacker,) = world.add(evil, version)
    world.publish()
    with daemon:
        (queue_id,) = postfix.send(f"user@{domain}")
        assert postfix.outcome(queue_id).status == "sent"

    def forged(query: dns.message.Message) -> bytes:
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if query.question[0].rdtype == dns.rdatatype.MX:
            reply.answer.append(
                dns.rrset.from_text(query.question[0].name, 60, "IN", "MX", f"1 mx.{evil.domain(version)}.")
            )
        else:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()

    questions = (f"_mta-sts.{domain}", "TXT"), (domain, "MX")
    for question in questions:
        internet.dns.break_(*question, forged)
    internet.serve(domain, None)
    with daemon:  # restarted: it knows the policy from its store only
        asked = internet.txt_queries(domain)
        for _ in range(2):  # the second one when the record has been seen to be gone
            (queue_id,) = postfix.send(f"user@{domain}")
            outcome = postfix.outcome(queue_id)
            assert outcome.status == "deferred"
            wait_until(lambda: internet.txt_queries(domain) > asked, "the record is read again")
        note("all forged after the first message", f"waits {outcome.dsn}: {_plain(outcome.text)}")
        assert not any(session.mail for session in receivers.sessions(attacker))
        for question in questions:
            internet.dns.mend(*question)
        postfix.deliver_all()
    assert_delivered(postfix, receivers, address, 3)


def _plain(text: str) -> str:
    return re.sub(r"\S+\[[0-9.]+\]", "HOST", text)


def test_a_daemon_killed_again_and_again_loses_nothing(
    internet: Internet,
    daemon: Daemon,
    make_postfix: Callable[..., Postfix],
    world: World,
    receivers: Receivers,
    version: Version,
    note: Note,
) -> None:
    """SIGKILL in the middle of lookups and between them, while mail comes in."""
    scenarios = [Scenario("", Want(), label=f"busy-{number}") for number in range(DOMAINS)]
    addresses = [world.add(scenario, version)[0] for scenario in scenarios]
    world.publish()
    recipients = [f"user{number}@{scenarios[number % DOMAINS].domain(version)}" for number in range(MESSAGES)]
    postfix = make_postfix(version, "busy", {"smtp_tls_policy_maps": daemon.table(version.map)})
    share = MESSAGES // KILLS
    for kill in range(KILLS):
        batch = recipients[kill * share : (kill + 1) * share]
        with daemon:
            ids = postfix.send(*batch[: share // 2])
            if kill % 2:
                wait_until(lambda ids=ids: any(map(postfix.attempts, ids)), "one of them is tried")
            daemon.kill()
        postfix.send(*batch[share // 2 :])
    with daemon:
        postfix.deliver_all()
    waited = sum("status=deferred" in line for line in postfix.log())
    note(f"{MESSAGES} messages, {KILLS} times kill -9", f"sent all, TLS Verified; {waited} times one had to wait")
    assert waited > 0
    sessions = receivers.sessions(*addresses)
    assert Counter(taken(sessions)) == Counter(recipients)
    assert not any(session.mail_in_clear for session in sessions)
    assert {level for address in addresses for level in postfix.tls(address)} == {"Verified"}
    assert postfix.faults() == []
