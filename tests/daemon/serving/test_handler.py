"""serving/handler.py: request to reply, and kept replies that are never stale."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from postfix_mtasts.config.settings import MapSettings, Settings
from postfix_mtasts.core import netstring
from postfix_mtasts.core.names import Domain, NextHop
from postfix_mtasts.core.verdict import Verdict
from postfix_mtasts.daemon.serving.handler import NO_MAP, Handler
from tests.support.fakes.entries import DAY, entry
from tests.support.fakes.keeping import D, World, absent, dane, failed, in_loop

SPELLINGS = [
    "example.com",
    "EXAMPLE.COM",
    "Example.com.",
    "example.com:25",
    "example.com:smtp",
    "EXAMPLE.com:587",
    "example.com.",
    "eXample.com",
]
SECURE, NOTFOUND = b"OK secure match=mx.example.com servername=hostname", b"NOTFOUND "


class Asked(World):
    """A world with an Handler before its keeper."""

    def __init__(self) -> None:
        super().__init__()
        self.handler = Handler(self.keeper, self.reply_cache, self.counts, self.clock.monotonic)
        self.handler.maps = {"postfix": MapSettings(), "postfix-dane": MapSettings(dane=True)}
        self.reply_cache.turn()

    def request(self, payload: str) -> list[bytes]:
        """As a connection does it: the kept reply, else the handler."""
        replies: list[bytes] = []
        ready = self.reply_cache.ready.get(netstring.encode(payload.encode()))
        reply = ready[0] if ready else self.handler.answer(payload.encode(), replies.append)
        return replies if reply is None else [reply]

    def all_spellings(self, map_name: str = "postfix") -> set[bytes]:
        return {reply.split(b":", 1)[1][:-1] for s in SPELLINGS for reply in self.request(f"{map_name} {s}")}


@pytest.fixture
def world() -> Asked:
    world = Asked()
    world.reply_cache.turn()
    world.hold(entry())
    return world


def test_every_map_and_key_gets_one_answer(world: Asked) -> None:
    """A map that is not configured is PERM, a key that is no domain NOTFOUND, without a query."""
    for payload in ("nomap example.com", "example.com", "", "postfix"):
        assert world.request(payload)[0].split(b":", 1)[1].startswith(b"PERM "), payload
    for key in (".example.com", "[192.0.2.1]", "[example.com]", "localhost", "a" * 300, "192.0.2.1", ""):
        assert world.request(f"postfix {key}")[0].split(b":", 1)[1] == b"NOTFOUND ,", key
    assert world.resolver.count == 0
    assert world.counts.all_lookups()[NO_MAP, "perm"] >= 3


def change_policy(world: Asked) -> None:
    world.refresh(lambda: None)
    world.resolver.answer(world.found(mode="none"))


def forget(world: Asked) -> None:
    world.keeper.forget(D)
    world.request("postfix example.com")
    world.resolver.answer(absent())


def take_map_away(world: Asked) -> None:
    world.handler.maps = {"other": MapSettings()}
    world.keeper.configure(Settings())


def end_policy(world: Asked) -> None:
    world.clock.advance(7 * DAY)
    world.reply_cache.turn()  # what the timer did long ago
    world.request("postfix example.com")
    world.resolver.answer(failed())


CHANGES: list[tuple[str, Callable[[Asked], None], bytes]] = [
    ("a policy of another mode", change_policy, NOTFOUND),
    ("forget", forget, NOTFOUND),
    ("a map taken away", take_map_away, b"PERM no map 'postfix' is configured; configured are other"),
    ("the policy's end", end_policy, NOTFOUND),
]


@pytest.mark.parametrize(("title", "change", "reply"), CHANGES, ids=[case[0] for case in CHANGES])
@in_loop
async def test_eight_hot_spellings(world: Asked, title: str, change: Callable[[Asked], None], reply: bytes) -> None:
    """All spellings of a key lie ready, and after a change not one of them tells what was before."""
    assert world.all_spellings() == {SECURE}
    assert len(world.reply_cache.ready) == len(SPELLINGS)
    change(world)
    await world.settle()
    assert world.all_spellings() == {reply}


@in_loop
async def test_no_frame_outlives_the_policy(world: Asked) -> None:
    """Near its end a policy gets no frame, since no emptying comes before."""
    world.clock.advance(7 * DAY - 59)
    world.reply_cache.turn()
    assert world.all_spellings() == {SECURE}
    assert world.reply_cache.ready == {}


@in_loop
async def test_no_frame_outlives_the_dane_status(world: Asked) -> None:
    """A frame ends with the status: what is stale is looked at each time, and a change is told at once."""
    world.request("postfix-dane example.com")
    world.resolver.answer(dane("usable"))
    assert world.request("postfix-dane example.com") == [b"12:OK dane-only,"]
    assert len(world.reply_cache.ready) == 2 - 1
    world.clock.advance(250)
    world.reply_cache.turn()
    assert world.request("postfix-dane example.com") == [b"12:OK dane-only,"]
    assert world.reply_cache.ready == {}
    world.clock.advance(50)
    world.request("postfix-dane example.com")
    while world.resolver.open:
        job = world.resolver.open[0][0].method
        world.resolver.answer(dane("unusable") if job == "dane" else absent())
    assert world.all_spellings("postfix-dane") <= {SECURE}


@in_loop
async def test_a_map_changed_while_a_lookup_was_under_way(world: Asked) -> None:
    """The lookup ends under the settings it began with, and leaves no frame of them."""
    replies = world.request("postfix other.example")
    world.handler.maps = {"postfix": MapSettings(tlsrpt=True)}
    world.keeper.configure(Settings())
    world.resolver.answer(world.found())
    await world.settle()
    assert replies == [netstring.encode(SECURE)]
    assert world.reply_cache.ready == {}
    assert b"policy_type=sts" in world.request("postfix other.example")[0]


@in_loop
async def test_temp_gets_no_frame(world: Asked) -> None:
    """Late answers are never repeated without thinking."""
    replies = world.request("postfix other.example")
    await world.settle(15)
    assert replies[0].split(b":", 1)[1].startswith(b"TEMP ")
    assert world.reply_cache.ready == {}


@in_loop
async def test_counts(world: Asked) -> None:
    """Each lookup is counted by map and answer, and those that waited by their time."""
    world.request("postfix example.com")
    world.request("postfix other.example")
    world.clock.advance(0.2)
    world.resolver.answer(absent())
    assert world.counts.all_lookups() == {("postfix", "secure"): 1, ("postfix", "notfound"): 1}
    assert [count for bound, count in world.counts.cold_buckets() if bound in ("0.1", "0.25", "+Inf")] == [0, 1, 1]


BUG_TOLD = b"TEMP an internal error, see the log"
ERRORS = [
    ("an enforced policy is held", "example.com", "enforce", BUG_TOLD),
    ("one that is being tested is held", "testing.example", "testing", NOTFOUND),
    ("an enforced policy has just been fetched", "other.example", "enforce", BUG_TOLD),
    ("one to be tested has just been fetched", "other.example", "testing", NOTFOUND),
    ("there is none", "other.example", "", NOTFOUND),
]


@pytest.mark.parametrize(("title", "domain", "mode", "reply"), ERRORS, ids=[case[0] for case in ERRORS])
@in_loop
async def test_an_error_of_our_own_while_answering(
    world: Asked, title: str, domain: str, mode: str, reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Mail waits where a policy is enforced, else it goes on; it is logged and counted, and others are answered."""
    others: list[Verdict] = []
    world.hold(entry("testing.example", mode="testing"))
    with pytest.MonkeyPatch.context() as broken:
        broken.setattr("postfix_mtasts.daemon.serving.handler.reply_frame", lambda *_: 1 / 0)
        replies = world.request(f"postfix {domain}")
        if domain == "other.example":
            world.keeper.lookup(NextHop(Domain(domain), "25"), False, others.append)
            world.resolver.answer(world.found(mode=mode) if mode else absent())
            await world.settle()
            assert [v.kind for v in others] == ["secure" if mode == "enforce" else "notfound"]
    assert replies == [netstring.encode(reply)]
    assert world.counts.errors == 1
    assert "internal-error" in caplog.text


@in_loop
async def test_an_error_in_the_keeper_while_answering(world: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same where the keeper meets it, and where even the request cannot be read."""
    monkeypatch.setattr(world.keeper, "lookup", lambda *_: 1 / 0)
    assert world.request("postfix example.com") == [netstring.encode(BUG_TOLD)]
    assert world.request("postfix other.example") == [netstring.encode(NOTFOUND)]
    monkeypatch.setattr("postfix_mtasts.daemon.serving.handler.parse_key", lambda *_: 1 / 0)
    assert world.request("postfix example.com") == [netstring.encode(NOTFOUND)]
    assert world.counts.errors == 3


@in_loop
async def test_an_error_while_one_is_told_keeps_no_other_waiting(world: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two who wait meets a bug; both are answered."""
    replies = [world.request(f"{name} other.example") for name in ("postfix-dane", "postfix")]
    monkeypatch.setattr(world.keeper.dane, "status", lambda *_: 1 / 0)
    world.resolver.answer(world.found())
    await world.settle()
    assert replies == [[netstring.encode(BUG_TOLD)], [netstring.encode(SECURE)]]
    assert world.counts.errors == 1


KINDS = [
    ("a policy in force", "postfix example.com", True),
    ("the same in other words", "postfix EXAMPLE.com.:smtp", True),
    ("the same with STS attributes", "postfix-tlsrpt example.com", True),
    ("a domain left to DANE", "postfix-dane example.com", True),
    ("a policy that is being tested", "postfix testing.example", True),
    ("a domain without a policy", "postfix none.example", True),
    ("a domain whose policy cannot be had", "postfix failed.example", True),
    ("a parent domain", "postfix .example.com", True),
    ("an address", "postfix 192.0.2.1", True),
    ("a bracketed host", "postfix [mx.example.com]:25", True),
    ("one label", "postfix localhost", True),
    ("what is no domain", "postfix a..b", True),
    ("an overlong key", f"postfix {'a' * 400}", False),
    ("an unknown map", "nomap example.com", False),
    ("no map", "example.com", False),
]


@pytest.mark.parametrize(("title", "payload", "framed"), KINDS, ids=[kind[0] for kind in KINDS])
@in_loop
async def test_the_short_way_gives_the_same_bytes(world: Asked, title: str, payload: str, framed: bool) -> None:
    """A ready frame is what parsing gives, and every answer that may be repeated has one."""
    world.handler.maps = {**world.handler.maps, "postfix-tlsrpt": MapSettings(tlsrpt=True)}
    world.hold(entry("testing.example", mode="testing"))
    for domain, answer in (("none.example", absent()), ("failed.example", failed())):
        world.request(f"postfix {domain}")
        world.resolver.answer(answer)
    world.request("postfix-dane example.com")
    world.resolver.answer(dane("usable"))
    world.reply_cache.empty()
    slow = world.handler.answer(payload.encode(), lambda frame: None)
    assert slow is not None
    ready = world.reply_cache.ready.get(netstring.encode(payload.encode()))
    assert (ready is not None) == framed
    if ready is not None:
        assert ready[0] == slow == world.handler.answer(payload.encode(), lambda frame: None)
