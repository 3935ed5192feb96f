"""TXT questions on the event loop, against a scripted resolver."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import pytest

from postfix_mtasts.adapters.dns.absence import Absence, Result
from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.adapters.dns.probe import LIFETIME, LIMIT, QUESTIONS, Probe
from postfix_mtasts.adapters.dns.transport import Nameservers
from tests.support.servers.dnsserver import DnsServer

NAME = "_mta-sts.example.com"
ONE = {(NAME, "TXT"): ['"v=STSv1; id=1"']}
ANY = ("*", "*")
PATIENT, HASTY = 30.0, 0.1  # seconds

LOOPS: dict[str, Callable[[Coroutine[Any, Any, Any]], Any]] = {"asyncio": asyncio.run}
try:
    import uvloop
except ImportError:
    pass
else:

    def run_with_uvloop(work: Coroutine[Any, Any, Any]) -> Any:
        """uvloop.run, which 0.17 has not."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work)

    LOOPS["uvloop"] = run_with_uvloop


def absent(probe: Probe, name: str) -> asyncio.Future[Result]:
    """What the probe will say of *name*; a second answer would be an error."""
    result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
    probe.absent(name, result.set_result)
    return result


def ask(
    server: DnsServer, *names: str, timeout: float = PATIENT, run: Callable[..., Any] = asyncio.run
) -> list[Result]:
    """What the probe says of *names*, asked for at once."""

    async def main() -> list[Result]:
        probe = Probe(Nameservers((server.address,)), timeout)
        try:
            return await asyncio.gather(*(absent(probe, name) for name in names))
        finally:
            probe.close()

    result: list[Result] = run(main())
    return result


# On the loop


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_asked_over_the_network(run: Callable[..., Any]) -> None:
    """Absence and records, with asyncio's loop and with uvloop."""
    with DnsServer(ONE) as server:
        nothing, nodata, found, impossible = ask(server, "nothing.example", "example.com", NAME, "a..b", run=run)
    assert (nothing, nodata) == (Absence(60, exists=False), Absence(60, exists=True))
    assert isinstance(found, bytes)
    assert impossible is None
    assert server.asked.total() == 3


@pytest.mark.parametrize("run", LOOPS.values(), ids=LOOPS)
def test_nobody_listening_is_heard_at_once(run: Callable[..., Any]) -> None:
    """The kernel tells a connected socket; the full client then says what is wrong."""
    with DnsServer() as server:
        pass
    assert ask(server, *["nothing.example"] * 3, run=run) == [None] * 3


@pytest.mark.parametrize("behaviour", ["silence", "SERVFAIL", "truncated", "garbage"])
def test_what_it_does_not_understand(behaviour: str) -> None:
    """Silence ends after dns.timeout, and a second at most."""
    with DnsServer(ONE, {ANY: behaviour}) as server:
        assert ask(server, NAME, timeout=HASTY) == [None]


@pytest.mark.parametrize("forgery", ["wrong-id", "wrong-name"])
def test_a_forged_datagram_does_not_end_the_question(forgery: str) -> None:
    """RFC 5452 section 9."""
    with DnsServer({}, {ANY: forgery}) as server:
        assert ask(server, "nothing.example") == [Absence(60, exists=False)]


def test_answers_in_any_order_find_their_questions() -> None:
    """The last asked is answered first."""
    held: list[bytes] = []
    lock = threading.Lock()

    def backwards(wire: bytes, tcp: bool) -> Iterable[bytes]:
        with lock:
            held.append(wire)
            return reversed(held) if len(held) == QUESTIONS else []

    records = {(f"n{n}.example", "TXT"): ["x" * (n + 1)] for n in range(QUESTIONS)}
    with DnsServer(records, {ANY: backwards}) as server:
        got = ask(server, *[name for name, _ in records])
    client = DnsClient(["127.0.0.1:53"], PATIENT)
    for (name, _), wire in zip(records, got, strict=True):
        assert isinstance(wire, bytes)
        assert client.txt_from_wire(name, wire) is not None


def test_a_source_port_serves_a_bounded_number_of_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 5452: what an attacker must guess keeps changing; and no descriptor stays behind."""
    monkeypatch.setattr("postfix_mtasts.adapters.dns.probe.LIFETIME", PATIENT)
    with DnsServer() as server:
        seen: set[Any] = set()
        ports: list[Any] = []

        async def main() -> None:
            probe = Probe(Nameservers((server.address,)), PATIENT)
            for n in range(3 * QUESTIONS):
                await absent(probe, f"n{n}.example")
                ports.append(len(probe._ports))
                seen.update(port.sock.getsockname() for port in probe._ports)
            probe.close()
            assert not probe._ports

        asyncio.run(main())
    assert len(seen) == 3
    assert max(ports) == 1


def test_a_source_port_lives_a_second_at_most() -> None:
    """However few questions are asked (RFC 5452 section 9.2)."""

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        clock, start = loop.time, loop.time()
        probe = Probe(Nameservers((server.address,)), PATIENT)
        ports = []
        for passed in (0.0, LIFETIME / 2, LIFETIME, LIFETIME + 0.1):
            loop.time = lambda passed=passed: start + passed  # type: ignore[method-assign, misc]
            answer = absent(probe, "nothing.example")
            loop.time = clock  # type: ignore[method-assign]
            ports.append(next(iter(probe._ports)).sock.getsockname()[1])
            await answer
        probe.close()
        return ports

    with DnsServer() as server:
        first, second, third, fourth = asyncio.run(main())
    assert first == second != third == fourth


def test_a_silent_first_server_costs_one_lookup() -> None:
    """The next socket leads to the second server."""
    with DnsServer({}, {ANY: "silence"}) as silent, DnsServer() as good:

        async def main() -> list[Result]:
            probe = Probe(Nameservers((silent.address, good.address)), HASTY)
            results = [await absent(probe, "nothing.example")]
            probe._patience = PATIENT  # the others are answered
            results += [await absent(probe, "nothing.example") for _ in range(3)]
            probe.close()
            return results

        assert asyncio.run(main()) == [None, *[Absence(60, exists=False)] * 3]
    assert silent.asked.total() == 1


def test_a_first_server_that_nobody_runs_costs_one_lookup() -> None:
    """The kernel tells that nobody listens there."""
    with DnsServer() as gone:
        pass
    with DnsServer() as good:

        async def main() -> list[Result]:
            probe = Probe(Nameservers((gone.address, good.address)), PATIENT)
            results = [await absent(probe, "nothing.example") for _ in range(3)]
            probe.close()
            return results

        assert asyncio.run(main()) == [None, *[Absence(60, exists=False)] * 2]


def test_a_lame_server_is_left_to_the_full_client() -> None:
    """RA=0 and AA=0 without a record is no absence."""

    def lame(reply: bytes, tcp: bool) -> Iterable[bytes]:
        yield reply[:3] + bytes([reply[3] & 0x7F]) + reply[4:]

    with DnsServer({}, {ANY: lame}) as server:
        assert ask(server, "nothing.example") == [None]


HOST = "mta-sts.example.com"
ADDRESSES: dict[tuple[str, str], list[str | bytes]] = {(HOST, "A"): ["192.0.2.1"], (HOST, "AAAA"): ["2001:db8::1"]}
HEARD: list[tuple[str, dict[tuple[str, str], Any], set[str]]] = [
    ("both families", {}, {"A", "AAAA"}),
    ("one of them fails", {(HOST, "AAAA"): "SERVFAIL"}, {"A"}),
    ("one of them is truncated", {(HOST, "A"): "truncated"}, {"AAAA"}),
    ("one of them is silent", {(HOST, "A"): "silence"}, {"AAAA"}),
    ("neither is heard", {ANY: "REFUSED"}, set()),
]


@pytest.mark.parametrize(("title", "behaviours", "want"), HEARD, ids=[h[0] for h in HEARD])
def test_addresses(title: str, behaviours: dict[tuple[str, str], Any], want: set[str]) -> None:
    """Both types are asked at once; what is whole is handed over as it came."""

    async def main() -> dict[str, bytes]:
        probe = Probe(Nameservers((server.address,)), 1.0 if "silent" in title else PATIENT)
        heard: asyncio.Future[dict[str, bytes]] = asyncio.get_running_loop().create_future()
        probe.addresses(HOST, heard.set_result)
        try:
            return await heard
        finally:
            probe.close()

    with DnsServer(ADDRESSES, behaviours) as server:
        heard = asyncio.run(main())
    client = DnsClient(["127.0.0.1:53"], PATIENT)
    assert set(heard) == want
    for rdtype, read in (("A", client.a_from_wire), ("AAAA", client.aaaa_from_wire)):
        if rdtype in want:
            answer = read(HOST, heard[rdtype])
            assert answer is not None
            assert list(answer.records) == ADDRESSES[HOST, rdtype]


def test_a_host_that_dns_cannot_hold_has_no_addresses() -> None:
    """The full client says what is wrong with it."""

    async def main() -> dict[str, bytes]:
        heard: list[dict[str, bytes]] = []
        Probe(Nameservers(("127.0.0.1:53",)), PATIENT).addresses("a..b", heard.append)
        return heard[0]

    assert asyncio.run(main()) == {}


def test_the_questions_under_way_are_bounded() -> None:
    """What is too much is asked in full, where a thread waits for it."""

    async def main() -> tuple[list[Result], list[Result]]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind(("127.0.0.1", 0))
            probe = Probe(Nameservers((f"127.0.0.1:{silent.getsockname()[1]}",)), PATIENT)
            futures = [absent(probe, f"n{n}.example") for n in range(LIMIT + 2)]
            at_once = [future.result() for future in futures if future.done()]
            probe.close()
            return at_once, [await future for future in futures]

    at_once, in_the_end = asyncio.run(main())
    assert at_once == [None, None]
    assert in_the_end == [None] * (LIMIT + 2)


def test_after_silence_the_servers_of_then_are_asked() -> None:
    """resolv.conf may have changed: the next question goes out from a new socket."""
    with DnsServer({}, {ANY: "silence"}) as old, DnsServer() as new:
        known = Nameservers((old.address,))

        async def main() -> list[Result]:
            probe = Probe(known, HASTY)
            first = await absent(probe, "a.example")
            known._fixed, probe._patience = (new.address,), PATIENT
            second = await absent(probe, "a.example")
            probe.close()
            return [first, second]

        assert asyncio.run(main()) == [None, Absence(60, exists=False)]


BAD_SERVERS: list[tuple[str, list[str]]] = [
    ("no address", ["localhost:53"]),
    ("a network that cannot be reached", ["255.255.255.255:53"]),
]


@pytest.mark.parametrize(("title", "servers"), BAD_SERVERS, ids=[b[0] for b in BAD_SERVERS])
def test_a_server_that_cannot_be_asked_raises_nothing(title: str, servers: list[str]) -> None:
    """The full client says it in a sentence."""

    async def main() -> Result:
        return await absent(Probe(Nameservers(servers), PATIENT), "a.example")

    assert asyncio.run(main()) is None
