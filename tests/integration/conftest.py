"""Integration tests run as root, in the namespaces of tests.support.namespace, or are left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import namespace
from tests.support.servers.debian import Knot, Unbound
from tests.support.servers.internet import Internet, Site, zone_lines

WHY = "tests/integration needs root and namespaces of its own; as root: make test"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not namespace.inside():
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=WHY))


@pytest.fixture(scope="session")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    """The one outside world of the run: servers take a second to start, domains none."""
    with Internet(tmp_path_factory.mktemp("internet")) as world:
        yield world


@pytest.fixture(scope="session")
def resolver(internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Unbound]:
    """A validating resolver that trusts the key of signed.test, and holds a wrong one for bogus.test."""
    directory = tmp_path_factory.mktemp("signed")
    zones = {zone: zone_lines(zone, Site(None)) for zone in ("signed.test", "bogus.test")}
    with Knot(directory / "knot", zones) as knot:
        anchor = knot.trust_anchor("signed.test")
        with Unbound(directory / "unbound", zones, [anchor, anchor.replace("signed", "bogus")]) as unbound:
            yield unbound
