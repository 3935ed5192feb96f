"""Stores with flipped bits, cut ends and holes: the daemon's store must run on, hold what is readable, and write.

    python -m tests.fuzz.damage 20000       that many stores
    python -m tests.fuzz.damage 1 1234      one, of the seed that a failure named

A short run is tests/fuzz/test_damage.py.
"""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from postfix_mtasts.adapters.store import salvage
from postfix_mtasts.adapters.store.disk import DiskStore
from postfix_mtasts.core.entry import Entry
from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.daemon.policies.store_thread import StoreKeeper
from postfix_mtasts.errors import StoreError
from tests.support.fakes.entries import NOW, entry

PATIENCE = 60.0  # seconds for one store
DATABASE, LOG, INDEX = "cache.db", "cache.db-wal", "cache.db-shm"


@dataclass(frozen=True)
class Template:
    """A good store to be harmed."""

    directory: Path
    entries: dict[Domain, Entry]
    pages: dict[Domain, set[int]]  # of the database, where the row lies; empty: not told


def big(domain: str) -> Entry:
    """A policy that takes several pages."""
    text = f"version: STSv1\nmode: enforce\nmx: mx.example.com\nmax_age: 604800\nx: {'y' * 9_000}"
    return Entry(Domain(domain), parse_policy(text.encode()), "1", NOW, NOW // 86_400 * 86_400)


def closed_store(place: Path) -> Template:
    """A store as a stop leaves it."""
    entries = [entry(f"d{number}.example") for number in range(300)] + [
        big(f"big{number}.example") for number in range(3)
    ]
    with closing(DiskStore(place)) as store:
        store.put(entries)
    return Template(place, {each.domain: each for each in entries}, pages(place / DATABASE))


def killed_store(place: Path) -> Template:
    """A store as kill -9 leaves it: the newest rows are in the log alone, as is the deletion of one.

    A deletion that is lost brings a policy back, which harms nobody: it is one that the domain published.
    """
    entries = [entry(f"d{number}.example") for number in range(300)]
    with closing(DiskStore(place / "running")) as store:
        store.put(entries[:200])
        store.put(entries[200:])
        store.delete([entries[-1].domain])
        shutil.copytree(place / "running", place / "killed")
    return Template(place / "killed", {each.domain: each for each in entries}, {})


def pages(database: Path) -> dict[Domain, set[int]]:
    """The numbers of the pages, from 0, that hold each row."""
    found: dict[Domain, set[int]] = {}
    content = database.read_bytes()
    for number in range(len(content) // salvage.PAGE):
        overflow: set[int] = set()

        def follow(page: int, overflow: set[int] = overflow) -> bytes:
            overflow.add(page - 1)
            return content[(page - 1) * salvage.PAGE : page * salvage.PAGE]

        for row in salvage._rows(content[number * salvage.PAGE : (number + 1) * salvage.PAGE], follow):
            found[row.domain] = {number, *overflow}
            overflow.clear()
    return found


def harm(file: Path, chance: random.Random) -> tuple[str, int, int]:
    """Harm *file* in one place: what was done, and from which byte to which."""
    content = bytearray(file.read_bytes())
    size = len(content)
    at = chance.randrange(min(size, 8 * salvage.PAGE)) if chance.random() < 0.4 else chance.randrange(size)
    kind = chance.choice(["flip", "flip", "flip", "flips", "cut", "hole", "noise"])
    end = min(size, at + {"flip": 1, "flips": 64}.get(kind, chance.choice([2, 16, 300, 5_000, 30_000])))
    match kind:
        case "flip":
            content[at] ^= 1 << chance.randrange(8)
        case "flips":
            for place in range(at, end, 8):
                content[place] ^= 1 << chance.randrange(8)
        case "cut":
            end = size
            del content[at:]
        case "hole":
            content[at:end] = bytes(end - at)
        case "noise":
            content[at:end] = chance.randbytes(end - at)
    file.write_bytes(content)
    return kind, at, end


async def live(directory: Path) -> dict[Domain, Entry]:
    """Run the store as a daemon does: load it, write to it, close it. What was held."""
    held: dict[Domain, Entry] = {}
    keeper = StoreKeeper.open(directory, time.monotonic)

    def hold(entries: list[Entry]) -> None:
        for each in entries:
            held.setdefault(each.domain, each)

    keeper.contents = lambda: list(held.values())
    await keeper.load(hold)
    found = dict(held)
    new = entry("new.example")
    held[new.domain] = new
    try:
        await keeper.put(new)
    except StoreError:
        while keeper.unwritten or keeper.busy_since is not None:
            await asyncio.sleep(0.001)
    assert await keeper.close(PATIENCE)
    return found


def survive(template: Template, seed: int, place: Path) -> str:
    """Harm a copy of *template* and live with it; what was done to it. Raises: AssertionError."""
    chance = random.Random(seed)
    shutil.copytree(template.directory, place)
    try:
        names = [DATABASE] * 4 + [name for name in (LOG, INDEX) if (place / name).exists()]
        name = chance.choice(names)
        kind, at, end = harm(place / name, chance)
        held = asyncio.run(asyncio.wait_for(live(place), PATIENCE))
        wrong = [domain for domain, each in held.items() if template.entries.get(domain) != each]
        assert not wrong, f"held, and never stored so: {wrong}"
        touched = set(range(at // salvage.PAGE, (end - 1) // salvage.PAGE + 1)) if name == DATABASE else set()
        lost = [domain for domain, at in template.pages.items() if domain not in held and not touched & at]
        assert not lost, f"readable, and not held: {lost}"
        with closing(DiskStore(place)) as store:
            assert not store.damage, store.damage
            stored = {each.domain: each for each in store.load(lambda sentence: None)}
        assert stored == held | {Domain("new.example"): entry("new.example")}
        return f"{kind} of {name}"
    finally:
        shutil.rmtree(place)


def rounds(number: int, first: int = 0, tell: Callable[[str], None] = lambda line: None) -> Counter[str]:
    """Live with *number* stores. Raises: AssertionError, with the seed."""
    logging.getLogger("postfix_mtasts").setLevel(logging.CRITICAL)
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as base:
        templates = [closed_store(Path(base, "closed")), killed_store(Path(base, "open"))]
        for seed in range(first, first + number):
            try:
                done[survive(templates[seed % len(templates)], seed, Path(base, "harmed"))] += 1
            except Exception as error:
                raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
            if seed % 1_000 == 999:
                tell(f"{seed + 1 - first} stores")
    return done


if __name__ == "__main__":
    began = time.monotonic()
    for what, times in sorted(rounds(*map(int, sys.argv[1:]), tell=print).items()):
        print(f"{times:>7}  {what}")
    print(f"all were lived with, in {time.monotonic() - began:.0f} s")
