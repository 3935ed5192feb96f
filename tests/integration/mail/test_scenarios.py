"""Every scenario of tests/support/scenarios.py, with both versions: what Postfix logs, queues, and really sends."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.servers.daemon import Daemon
from tests.support.servers.debian import Knot, Unbound
from tests.support.servers.internet import Internet
from tests.support.servers.receivers import Receivers, taken
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import NEW, OLD, OUTSIDE, SCENARIOS, SIGNED, VERSIONS, Scenario, Version

pytestmark = pytest.mark.timeout(600)  # the first of them may make a Debian 13


@dataclass(frozen=True)
class Sent:
    """A scenario's mail on its way."""

    postfix: Postfix
    queue_id: str
    recipient: str
    addresses: list[str]  # of its hosts


class MailKnot(Knot):
    address = "127.0.0.5"  # the run has another


class MailUnbound(Unbound):
    address, knot = "127.0.0.6", MailKnot.address


def services(version: Version, daemon: Daemon) -> list[str]:
    """A second transport, as a site has it that is at level dane."""
    options = {
        "smtp_tls_security_level": "dane",
        "smtp_dns_support_level": "dnssec",
        "smtp_tls_policy_maps": daemon.table(version.dane_map),
    }
    return ["dane unix - - n - - smtp " + " ".join(f"-o {name}={value}" for name, value in options.items())]


def transport(version: Version) -> Iterator[str]:
    for scenario in SCENARIOS:
        domain = scenario.domain(version)
        if scenario.dane:
            yield f"{domain} dane:"
        elif scenario.port != 25:
            yield f"{domain} smtp:{domain}:{scenario.port}"


def relayhosts(version: Version) -> str:
    pairs = (
        (f"{scenario.domain(version)}@sender.test", scenario.relayhost.format(d=scenario.domain(version)))
        for scenario in SCENARIOS
        if scenario.relayhost
    )
    return "inline:{" + ", ".join(f"{{ {sender} = {host} }}" for sender, host in pairs) + "}"


@pytest.fixture(scope="module")
def sent(
    internet: Internet,
    world: World,
    make_postfix: Callable[..., Postfix],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[tuple[str, str], Sent]]:
    """One message for each scenario and version, all on their way at once."""
    directory = tmp_path_factory.mktemp("mail")
    addresses = {(s.title, v.name): world.add(s, v) for s in SCENARIOS for v in VERSIONS}
    world.publish()
    with ExitStack() as stack:
        knot = stack.enter_context(MailKnot(directory / "knot", {SIGNED: world.signed}))
        unbound = MailUnbound(directory / "unbound", [SIGNED], [knot.trust_anchor(SIGNED)])
        stack.enter_context(unbound)
        stack.enter_context(internet.dns.through(unbound.address))
        daemon = stack.enter_context(Daemon(directory / "daemon", internet.config()))
        sent = {}
        for version in VERSIONS:
            main = {
                "smtp_tls_policy_maps": daemon.table(version.map),
                "sender_dependent_relayhost_maps": relayhosts(version),
            }
            more = {"services": services(version, daemon), "transport": transport(version)}
            postfix = make_postfix(version, "table", main, **more)
            for scenario in SCENARIOS:
                key = scenario.title, version.name
                sent[key] = _send(postfix, scenario, version, addresses[key])
        yield sent


def _send(postfix: Postfix, scenario: Scenario, version: Version, addresses: list[str]) -> Sent:
    domain = scenario.domain(version)
    sender = "sender@sender.test"
    if scenario.relayhost:
        domain, sender = f"elsewhere-{domain}", f"{domain}@sender.test"
    recipient = f"user@{domain.upper() if scenario.upper_case else domain}"
    return Sent(postfix, postfix.send(recipient, sender=sender)[0], recipient, addresses)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.title for scenario in SCENARIOS])
def test_what_becomes_of_mail(
    sent: dict[tuple[str, str], Sent],
    receivers: Receivers,
    scenario: Scenario,
    version: Version,
    note: Callable[[str, str], None],
) -> None:
    """Postfix's log and queue say it, and the mail servers saw no more than it."""
    mail, want = sent[scenario.title, version.name], scenario.wanted(version)
    outcome = mail.postfix.outcome(mail.queue_id)
    sessions = receivers.sessions(*mail.addresses)
    if want.reason:
        note(scenario.title, f"waits {outcome.dsn}: {plain(outcome.text)}")
        assert (outcome.status, outcome.dsn) == ("deferred", want.dsn), outcome
        assert re.search(want.reason, outcome.text), outcome
        assert [re.search(want.reason, reason) is not None for reason in mail.postfix.reasons(mail.queue_id)] == [True]
        assert not any(session.mail for session in sessions)
        assert bool(sessions) == (want is not OUTSIDE)  # 3.10 does not even connect
        return
    host = mail.addresses[want.host]
    levels = mail.postfix.tls(host)
    how = f"TLS {', '.join(levels)}" if levels else "in clear"
    note(scenario.title, f"sent to {outcome.host.partition('.')[0]}, {how}")
    assert (outcome.status, outcome.dsn) == ("sent", want.dsn), outcome
    assert f"[{host}]:{scenario.port}" in outcome.relay
    assert levels == ({want.tls} if want.tls else set())
    assert mail.postfix.reasons(mail.queue_id) == []
    assert list(taken(receivers.sessions(host))) == [mail.recipient]
    assert [session.address for session in sessions if session.mail] == [host]
    assert any(session.mail_in_clear for session in sessions) == (not want.tls)


def plain(text: str) -> str:
    """Without what differs between the versions: host names and addresses."""
    return re.sub(r"\S+\[[0-9.]+\]", "HOST", text)


def test_no_program_of_postfix_failed(sent: dict[tuple[str, str], Sent], version: Version) -> None:
    """After the whole table."""
    postfix = next(mail.postfix for (_, name), mail in sent.items() if name == version.name)
    assert postfix.faults() == []


def test_both_versions_are_what_they_are_called(sent: dict[tuple[str, str], Sent]) -> None:
    for version in (OLD, NEW):
        postfix = next(mail.postfix for (_, name), mail in sent.items() if name == version.name)
        assert postfix.run("postconf", "-h", "mail_version").startswith(f"{version.name}.")
