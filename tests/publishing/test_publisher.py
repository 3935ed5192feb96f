"""publishing/publisher.py: folder and history make one table, and no order of faults makes it wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.publication import WITHDRAWN
from postfix_mtasts.publishing.publisher import GONE_KEPT, History, Publisher, Table

DAY = 86_400.0
D = Domain("example.com")


def text(mx: str = "mx.example.com", max_age: float = 7 * DAY) -> bytes:
    return f"version: STSv1\nmode: enforce\nmx: {mx}\nmax_age: {max_age:.0f}\n".encode()


class World:
    """A folder, a history and a clock that a test moves."""

    def __init__(self, directory: Path) -> None:
        self.folder, self.state = directory / "policies", directory / "state"
        self.folder.mkdir()
        self.now = 1_700_000_000.0
        self.tables: list[Table] = []
        self.restart()

    def restart(self) -> None:
        """Begin anew from what is on disk, as after kill -9."""
        self.publisher = Publisher(self.folder, History(self.state), self, self.tables.append)

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def put(self, body: bytes, domain: str = D) -> None:
        (self.folder / f"{domain}.txt").write_bytes(body)
        self.look()

    def remove(self) -> None:
        (self.folder / f"{D}.txt").unlink()
        self.look()

    def look(self) -> None:
        """Twice: after that a folder that stands still has been taken in."""
        self.publisher.look()
        self.publisher.look()

    @property
    def served(self) -> bytes | None:
        row = self.publisher.table.get(D)
        return row.text if row is not None else None


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_new_file_is_served(world: World) -> None:
    """And told of once."""
    world.put(text())
    assert world.served == text()
    world.look()
    assert len(world.tables) == 1


def test_an_invalid_file_leaves_the_last_valid_policy(world: World) -> None:
    """Over a restart too, and it stands among the faults until it is mended."""
    world.put(text())
    world.put(b"version: STSv2\n")
    assert world.served == text()
    assert "STSv2" in world.publisher.faults[D]
    world.restart()
    world.look()
    assert world.served == text()
    assert D in world.publisher.faults
    world.put(text("two.example.com"))
    assert world.served == text("two.example.com")
    assert not world.publisher.faults


def test_a_policy_is_served_from_the_first_look_after_a_restart(world: World) -> None:
    """Before its file has been looked at twice."""
    world.put(text())
    world.restart()
    world.publisher.look()
    assert world.served == text()


def test_a_file_removed_while_nothing_ran_is_a_withdrawal(world: World) -> None:
    """It counts from when it is noticed: until then the policy may have been fetched."""
    world.put(text())
    (world.folder / f"{D}.txt").unlink()
    world.now += 30 * DAY
    world.restart()
    world.look()
    assert world.served == WITHDRAWN


def test_a_withdrawn_domain_serves_none_until_nobody_holds_its_policy(world: World) -> None:
    """Then nothing; and the history goes a day later."""
    world.put(text())
    world.remove()
    assert world.served == WITHDRAWN
    world.restart()
    world.look()
    assert world.served == WITHDRAWN
    world.now += 7 * DAY
    world.look()
    assert world.served is None
    assert (world.state / f"{D}.json").exists()
    world.now += GONE_KEPT
    world.look()
    assert not (world.state / f"{D}.json").exists()


def test_a_folder_that_is_away_changes_nothing(world: World) -> None:
    """An unmounted disk must not end everybody's protection."""
    world.put(text())
    world.folder.rename(world.folder.with_name("away"))
    world.look()
    assert world.served == text()
    assert world.publisher.faults == {str(world.folder): "the folder cannot be read: No such file or directory"}


def test_a_history_that_cannot_be_written_keeps_the_old_policy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What senders may hold must be known afterwards, so the change waits."""
    world.put(text())
    with monkeypatch.context() as full:

        def save(self: History, publication: object) -> None:
            raise OSError(28, "No space left on device")

        full.setattr(History, "save", save)
        world.put(text("two.example.com"))
        assert world.served == text()
        assert "No space left" in world.publisher.faults[D]
    world.look()
    assert world.served == text("two.example.com")
    assert not world.publisher.faults


DAMAGE = ["", "{", "[]", '{"text": "no policy", "current": true, "owed_until": 0}', '{"text": 3}', "null"]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_history_costs_its_own_domain_only(damage: str, world: World) -> None:
    """The file in the folder is published again; others are untouched."""
    world.put(text())
    world.put(text("mx.example.net"), "example.net")
    (world.state / f"{D}.json").write_text(damage)
    world.restart()
    world.look()
    assert world.served == text()
    assert world.publisher.table[Domain("example.net")].text == text("mx.example.net")
    assert json.loads((world.state / f"{D}.json").read_text())["current"] is True
