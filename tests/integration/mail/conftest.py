"""Both versions of Postfix, the mail servers they send to, and the table of what became of the mail."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers.certificates import Authority
from tests.support.servers.internet import Internet
from tests.support.servers.receivers import Receivers
from tests.support.worlds import trixie
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import NEW, VERSIONS, Version

MakePostfix = Callable[..., Postfix]

_outcomes: dict[str, dict[str, str]] = {}  # scenario, version: what became of it


@pytest.fixture(params=VERSIONS, ids=[version.name for version in VERSIONS])
def version(request: pytest.FixtureRequest) -> Version:
    """Each test runs with each Postfix."""
    return request.param


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA that Postfix trusts for mail servers."""
    return Authority("Mail CA")


@pytest.fixture(scope="session")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with Receivers(tmp_path_factory.mktemp("receivers") / "hosts") as receivers:
        yield receivers


@pytest.fixture(scope="session")
def world(internet: Internet, receivers: Receivers, authority: Authority) -> World:
    return World(internet, receivers, authority)


@pytest.fixture(scope="module")
def make_postfix(authority: Authority) -> Iterator[MakePostfix]:
    """Start a Postfix of the given version; it is stopped after the module's tests."""
    with ExitStack() as stack:

        def make(version: Version, name: str, main: dict[str, str], **more: Any) -> Postfix:
            root, parent = (trixie.ROOT, trixie.enter()) if version is NEW else (Path("/"), None)
            # not pytest's own directory, which only root may enter
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"mtasts-{name}-", dir=parent)))
            directory.chmod(0o755)
            return stack.enter_context(Postfix(directory / "postfix", main=main, ca=authority.pem, root=root, **more))

        yield make


@pytest.fixture
def note(version: Version) -> Callable[[str, str], None]:
    """Write a line of the table at the end of the run: what became of it with this version."""

    def note(title: str, outcome: str) -> None:
        _outcomes.setdefault(title, {})[version.name] = outcome

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of scenarios and versions."""
    if not _outcomes:
        return
    terminalreporter.section("mail through Postfix")
    width = max(map(len, _outcomes)) + 2
    for title, by_version in _outcomes.items():
        if len(set(by_version.values())) == 1 and len(by_version) == len(VERSIONS):
            by_version = {"both": by_version[VERSIONS[0].name]}
        for number, (name, outcome) in enumerate(sorted(by_version.items())):
            terminalreporter.write_line(f"{'' if number else title:{width}}{name:5} {outcome}")
