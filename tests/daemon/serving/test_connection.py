"""daemon/connection.py: replies in the order of the requests, and bounds on what one client can make us hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.core.netstring import encode
from postfix_mtasts.daemon.serving import connection as module
from postfix_mtasts.daemon.serving.connection import (
    BUFFER_LIMIT,
    LINGER,
    PENDING_LIMIT,
    ROUND,
    SHORT_TURN,
    TURN,
    Connection,
)
from tests.support.fakes.keeping import ManualClock, ManualLoop

HIT = encode(b"postfix hit.example")
BROKEN = b"x"


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reading, self.closing, self.aborted = True, False, False
        self.limit: int | None = None
        self.unread = 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unread

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def written(self) -> bytes:
        return b"".join(self.writes)


class World:
    """A connection, and the service behind it: keys "wait..." are answered when the test says so, others at once."""

    def __init__(self) -> None:
        self.ready: dict[bytes, tuple[bytes, list[int]]] = {HIT: (encode(b"OK ready"), [0])}
        self.tick, self.queued = 7, 0
        self.asked: list[bytes] = []
        self.waiting: dict[bytes, Callable[[bytes], None]] = {}
        self.open: list[Connection] = []
        self.stalling: list[Connection] = []
        self.connection, self.transport = Connection(self), FakeTransport()
        self.connection.connection_made(self.transport)

    def answer(self, payload: bytes, later: Callable[[bytes], None]) -> bytes | None:
        self.asked.append(payload)
        if payload.startswith(b"wait"):
            self.waiting[payload] = later
            return None
        if payload.startswith(b"large"):
            return encode(payload + bytes(90_000))
        return encode(b"re:" + payload)

    def opened(self, connection: Connection) -> None:
        self.open.append(connection)

    def closed(self, connection: Connection) -> None:
        self.open.remove(connection)

    def stalled(self, connection: Connection) -> None:
        self.stalling.append(connection)

    def resumed(self, connection: Connection) -> None:
        self.stalling.remove(connection)

    def send(self, *payloads: bytes) -> None:
        """All in one read."""
        self.connection.data_received(b"".join(map(encode, payloads)))

    def tell(self, payload: bytes) -> None:
        """Answer what waits."""
        self.waiting.pop(payload)(encode(b"at last:" + payload))


@pytest.fixture
def world() -> World:
    return World()


def test_a_ready_frame_is_the_answer(world: World) -> None:
    """Nobody is asked; it is counted."""
    world.connection.data_received(HIT)
    assert world.transport.writes == [encode(b"OK ready")]
    assert (world.asked, world.ready[HIT][1]) == ([], [1])


def test_several_ready_frames_are_one_write(world: World) -> None:
    """Each is counted."""
    world.connection.data_received(HIT * 3)
    assert world.transport.writes == [encode(b"OK ready") * 3]
    assert (world.asked, world.ready[HIT][1]) == ([], [3])


@pytest.mark.parametrize("requests", [[HIT, encode(b"a")], [encode(b"a"), HIT], [encode(b"a,b"), HIT]])
def test_ready_frames_among_others(world: World, requests: list[bytes]) -> None:
    """The order stays; on the long way the service is asked for all of them."""
    world.connection.data_received(b"".join(requests))
    assert len(world.asked) == len(requests)
    replies = [encode(b"re:" + asked) for asked in world.asked]
    assert world.transport.written == b"".join(replies)


def test_a_request_in_pieces(world: World) -> None:
    """However TCP cuts it, the reply is the same, and comes once."""
    for byte in encode(b"first") + HIT:
        world.connection.data_received(bytes([byte]))
    assert world.asked == [b"first"]
    world.connection.data_received(HIT)
    assert world.transport.written == encode(b"re:first") + encode(b"OK ready") * 2


@pytest.mark.parametrize("inside", [HIT, HIT * 2], ids=["one", "two"])
def test_a_ready_frame_inside_a_request_is_no_request(world: World, inside: bytes) -> None:
    """A read that begins in the midst of a request is its rest, whatever it looks like."""
    payload = b"postfix " + inside + b"."
    head, tail = encode(payload).split(inside)
    for part in (head, inside, tail):
        world.connection.data_received(part)
    assert world.asked == [payload]
    assert world.ready[HIT][1] == [0]


MANY = [  # requests in one read, how many are asked of the service, how many have ready replies
    ("ready", [HIT] * (3 * TURN), 0, 3 * TURN),
    ("not ready", [encode(b"a")] * (3 * TURN), 3 * TURN, 0),
    ("ready, then not", [HIT] * TURN + [encode(b"a")] * TURN, TURN, TURN),
    ("not ready, then ready", [encode(b"a")] * TURN + [HIT] * TURN, TURN, TURN),
]


@pytest.mark.parametrize("tail", [b"", HIT[:9]], ids=["whole", "with the beginning of another"])
@pytest.mark.parametrize(("title", "requests", "asked", "hits"), MANY, ids=[row[0] for row in MANY])
def test_a_turn_is_a_hundred_requests(title: str, requests: list[bytes], asked: int, hits: int, tail: bytes) -> None:
    """Then all others have theirs, and nothing more is read meanwhile; the replies are all there, in order."""
    turns: list[int] = []

    async def run() -> None:
        world = World()

        def others() -> None:
            turns.append(world.transport.written.count(b","))
            if turns[-1] < len(requests):
                assert not world.transport.reading
                asyncio.get_running_loop().call_soon(others)

        asyncio.get_running_loop().call_soon(others)
        world.connection.data_received(b"".join(requests) + tail)
        for _ in range(len(requests)):
            await asyncio.sleep(0)
        assert turns == list(range(TURN, len(requests) + 1, TURN))
        assert (len(world.asked), world.ready[HIT][1][0]) == (asked, hits)
        assert world.transport.reading
        if tail:
            world.connection.data_received(HIT[9:])
        world.connection.data_received(HIT)
        replies = [world.ready[HIT][0] if request == HIT else encode(b"re:a") for request in requests]
        more = [world.ready[HIT][0]] * (2 if tail else 1)
        assert world.transport.written == b"".join(replies + more)

    asyncio.run(run())


CROWDS = [(0, TURN), (ROUND // TURN, 95), (100, 19), (4_000, SHORT_TURN)]  # others that wait, requests of a turn


@pytest.mark.parametrize(("queued", "share"), CROWDS)
def test_a_turn_is_shorter_in_a_crowd(queued: int, share: int) -> None:
    """So that a round of all who wait stays short, whoever else asks; and who goes counts no more."""

    async def run() -> None:
        world = World()
        world.queued = queued
        world.connection.data_received(encode(b"a") * 2 * TURN)
        assert (len(world.asked), world.queued) == (share, queued + 1)
        world.connection.connection_lost(None)
        world.transport.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert world.queued == queued

    asyncio.run(run())


def test_an_end_of_input_waits_for_its_turns() -> None:
    """Who asks a thousand things and closes its side is told all of them."""

    async def run() -> None:
        world = World()
        world.connection.data_received(encode(b"a") * 10 * TURN)
        world.connection.eof_received()
        while not world.transport.closing:
            await asyncio.sleep(0)
        assert world.transport.written == encode(b"re:a") * 10 * TURN

    asyncio.run(run())


def test_a_client_that_stops_reading_in_its_turn_goes_on_later() -> None:
    """The turns end while it reads nothing, and begin again with the first byte."""

    async def run() -> None:
        world = World()
        world.connection.data_received(encode(b"a") * 3 * TURN)
        world.connection.pause_writing()
        for _ in range(10):
            await asyncio.sleep(0)
        assert (len(world.asked), world.transport.reading) == (TURN, False)
        world.connection.resume_writing()
        for _ in range(10):
            await asyncio.sleep(0)
        assert (len(world.asked), world.transport.reading) == (3 * TURN, True)

    asyncio.run(run())


@pytest.mark.parametrize("tail", [b"x", b"0000:,", b"99999:"])
def test_garbage_behind_ready_requests_is_refused_at_once(tail: bytes) -> None:
    """What can no longer become a request is not held until more comes."""

    async def run() -> None:
        world = World()
        world.connection.data_received(HIT * 3 + tail)
        while not world.transport.closing:
            await asyncio.sleep(0)
        assert world.transport.written.count(b",") == 3

    asyncio.run(run())


def test_a_reply_waits_for_those_before_it(world: World) -> None:
    """Postfix takes replies in the order of its requests."""
    world.send(b"wait 1", b"a", b"wait 2", b"b")
    assert world.transport.written == b""
    world.tell(b"wait 2")
    assert world.transport.written == b""
    assert world.connection.busy
    world.tell(b"wait 1")
    assert world.transport.written == encode(b"at last:wait 1") + encode(b"re:a") + encode(b"at last:wait 2") + encode(
        b"re:b"
    )
    assert not world.connection.busy


def test_a_ready_frame_never_overtakes(world: World) -> None:
    """The short way is closed while a reply is awaited."""
    world.send(b"wait 1")
    world.connection.data_received(HIT)
    assert world.transport.written == b""
    world.tell(b"wait 1")
    assert world.transport.written.startswith(encode(b"at last:wait 1"))


def test_a_hundred_may_wait(world: World) -> None:
    """Beyond that nothing is read until one is answered."""
    world.send(*(b"wait %d" % number for number in range(PENDING_LIMIT + 5)))
    assert len(world.asked) == PENDING_LIMIT
    assert not world.transport.reading
    world.tell(b"wait 1")  # not the first: nothing can be written
    assert (len(world.asked), world.transport.reading) == (PENDING_LIMIT, False)
    world.tell(b"wait 0")
    assert len(world.asked) == PENDING_LIMIT + 2
    for number in range(2, PENDING_LIMIT):
        world.tell(b"wait %d" % number)
    assert (len(world.asked), world.transport.reading) == (PENDING_LIMIT + 5, True)


def test_a_client_that_reads_nothing_is_asked_nothing(world: World) -> None:
    """What it sent stays unread until it reads; the bound is a mebibyte."""
    assert world.transport.limit == BUFFER_LIMIT
    world.connection.pause_writing()
    world.send(b"a", b"b")
    world.connection.data_received(HIT)
    assert (world.asked, world.transport.reading, world.transport.written) == ([], False, b"")
    assert world.stalling == [world.connection]
    world.connection.resume_writing()
    assert world.stalling == []
    assert world.asked == [b"a", b"b", b"postfix hit.example"]
    assert world.transport.reading


def test_large_replies_are_written_bit_by_bit(world: World) -> None:
    """No single write is far above the bound: the transport can only stop us between two."""
    world.send(*(b"large %d" % number for number in range(30)))
    assert len(world.transport.writes) > 1
    assert max(map(len, world.transport.writes)) < BUFFER_LIMIT + 100_000


def in_loop(test: Callable[[World, ManualClock], None]) -> None:
    """Run *test*, which closes a connection, where there is a loop."""
    clock = ManualClock()

    async def run() -> None:
        test(World(), clock)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: ManualLoop(clock)) as runner:
        runner.run(run())


def test_a_broken_frame_ends_the_connection() -> None:
    """What came before it is answered, what comes after it is not read."""

    def test(world: World, clock: ManualClock) -> None:
        world.connection.data_received(encode(b"a") + BROKEN + encode(b"b"))
        assert (world.asked, world.transport.closing) == ([b"a"], True)
        assert world.transport.written == encode(b"re:a")

    in_loop(test)


def test_an_end_of_input_waits_for_the_answers() -> None:
    """A client may well close its side first, as `printf | nc` does."""

    def test(world: World, clock: ManualClock) -> None:
        world.send(b"wait 1", b"a")
        assert world.connection.eof_received() is True
        assert not world.transport.closing
        world.tell(b"wait 1")
        assert world.transport.written == encode(b"at last:wait 1") + encode(b"re:a")
        assert world.transport.closing

    in_loop(test)


def test_a_daemon_that_stops_reads_no_more() -> None:
    """Idle connections close at once."""

    def test(world: World, clock: ManualClock) -> None:
        world.connection.finish()
        assert world.transport.closing

    in_loop(test)


def test_a_closed_connection_ends_in_time() -> None:
    """Who does not read what it was told is cut off."""
    transports: list[FakeTransport] = []

    def test(world: World, clock: ManualClock) -> None:
        world.send(b"wait 1")
        world.connection.close()
        assert (world.transport.closing, world.transport.aborted, world.connection.busy) == (True, False, False)
        transports.append(world.transport)
        clock.advance(LINGER)

    in_loop(test)
    assert transports[0].aborted


def test_an_answer_for_a_client_that_left(world: World) -> None:
    """It is dropped, and the service knows the connection no more."""
    world.send(b"wait 1")
    world.connection.connection_lost(None)
    world.tell(b"wait 1")
    assert (world.transport.written, world.open) == (b"", [])


def test_the_last_use_is_noted(world: World) -> None:
    """By any request: where descriptors are used up, the connection idle longest goes."""
    for data in (HIT, HIT * 2, encode(b"a")):
        world.tick += 1
        world.connection.data_received(data)
        assert world.connection.tick == world.tick


ASKED = st.sampled_from([b"postfix hit.example", b"a", b"a,b", b"", HIT, HIT * 2, b"postfix hit.example,"])


@given(st.lists(ASKED, max_size=30), st.lists(st.integers(0, 800), max_size=8), st.integers(1, 5))
def test_neither_cuts_nor_turns_change_the_replies(payloads: list[bytes], cuts: list[int], turn: int) -> None:
    """However TCP cuts the stream, and however few requests are a turn: one reply each, in order."""
    stream = b"".join(map(encode, payloads))
    want = b"".join(encode(b"OK ready") if encode(each) == HIT else encode(b"re:" + each) for each in payloads)
    ends = [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]

    async def run() -> bytes:
        world = World()
        for start, end in zip([0, *ends], ends, strict=False):
            world.connection.data_received(stream[start:end])
            while not world.transport.reading:
                await asyncio.sleep(0)
        return world.transport.written.replace(encode(b"re:postfix hit.example"), encode(b"OK ready"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TURN", turn)
        assert asyncio.run(run()) == want


def test_a_connection_that_is_gone_leaves_no_timer(world: World) -> None:
    """Else every client that leaves would be kept for five seconds."""

    async def run() -> None:
        world.connection.close()
        loop = asyncio.get_running_loop()
        [timer] = loop._scheduled  # type: ignore[attr-defined]
        world.connection.connection_lost(None)
        assert timer.cancelled()

    asyncio.run(run())
