"""What is to be written: of two changes of a domain the later one counts."""

from __future__ import annotations

from typing import Any

from postfix_mtasts.core.names import Domain
from postfix_mtasts.daemon.policies.store_changes import Changes
from postfix_mtasts.errors import StoreError
from tests.support.fakes.entries import entry

D = Domain("example.com")
FULL = StoreError("full")
FIRST, SECOND = entry(record_id="1"), entry(record_id="2")


def future() -> Any:
    """Something that waits; nobody here looks into it."""
    return object()


def test_what_is_newest_is_found_wherever_it_is() -> None:
    """Queued, being written, failed."""
    changes = Changes()
    assert changes.newest(D) is None
    changes.add(D, FIRST, future())
    assert changes.newest(D) == (FIRST,)
    changes.begin(10, again=True)
    assert changes.newest(D) == (FIRST,)
    changes.add(D, None, future())
    assert changes.newest(D) == (None,), "a deletion is a change too"
    changes.end(FULL)
    assert (changes.newest(D), changes.unwritten, len(changes)) == ((None,), {}, 1)


def test_a_failed_write_is_begun_again_only_when_it_is_time() -> None:
    """New changes are tried at once."""
    changes = Changes()
    changes.add(D, FIRST, future())
    changes.begin(10, again=True)
    changes.end(FULL)
    other = entry("other.example")
    changes.add(other.domain, other, future())
    assert changes.begin(10, again=False)[0] == {other.domain: other}
    changes.end(None)
    assert changes.begin(10, again=True)[0] == {D: FIRST}
    changes.end(None)
    assert (len(changes), changes.begin(10, again=True)[0]) == (0, {})


def test_who_waits_is_given_with_the_batch() -> None:
    """All who asked for a change of the domain."""
    changes, waiting = Changes(), [future(), future()]
    for each in waiting:
        changes.add(D, FIRST, each)
    assert changes.begin(1, again=False)[1] == waiting


def test_a_store_begun_anew_gets_what_memory_holds_and_nothing_older() -> None:
    """What is queued, or failed, is newer."""
    changes = Changes()
    changes.add(D, SECOND, future())
    failed = entry("failed.example", record_id="2")
    changes.unwritten[failed.domain] = failed
    changes.refill([FIRST, entry("failed.example", record_id="1"), entry("a.example")])
    assert changes.unwritten == {failed.domain: failed, Domain("a.example"): entry("a.example")}
    assert changes.newest(D) == (SECOND,)
