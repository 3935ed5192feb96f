"""cli/postfix/groups.py: services of master.cf that are set alike are judged together."""

from __future__ import annotations

import pytest

from postfix_mtasts.cli.postfix.groups import Misfit, groups
from postfix_mtasts.cli.postfix.postconf import Postfix, Service

MAIN = {"a": "1", "b": "2"}
SMTP = Service("smtp", False, MAIN)
RELAY = Service("relay", True, MAIN)
DANE = Service("dane", True, MAIN | {"a": "x"})
MORE = Service("more", False, MAIN | {"a": "x"})

CASES = [
    ("all as main.cf", (SMTP, RELAY), ("a",), [("main.cf", ["smtp", "relay"])]),
    ("two by -o", (SMTP, DANE, MORE), ("a",), [("main.cf", ["smtp"]), ("master.cf: dane, more", ["dane", "more"])]),
    ("-o of something else", (SMTP, DANE), ("b",), [("main.cf", ["smtp", "dane"])]),
    ("none as main.cf", (DANE,), ("a", "b"), [("master.cf: dane", ["dane"])]),
    ("no service at all: main.cf counts", (), ("a",), [("main.cf", ["smtp"])]),
]


@pytest.mark.parametrize(("title", "services", "names", "want"), CASES, ids=[case[0] for case in CASES])
def test_services_are_put_together_by_the_parameters_in_question(
    title: str, services: tuple[Service, ...], names: tuple[str, ...], want: list[tuple[str, list[str]]]
) -> None:
    """And the place to look at is told: main.cf, or the services in master.cf."""
    postfix = Postfix((3, 10), MAIN, services)
    found = [(group.place, [service.name for service in group.services]) for group in groups(postfix, services, *names)]
    assert found == want


def test_who_is_chrooted() -> None:
    """Both kinds may be in one group."""
    (group,) = groups(Postfix((3, 10), MAIN, ()), (SMTP, RELAY), "a")
    assert (group.chrooted, group.unchrooted) == (["relay"], ["smtp"])


@pytest.mark.parametrize(
    ("place", "text"), [("main.cf", "main.cf: it is wrong; do this"), ("", "it is wrong; do this")]
)
def test_a_misfit_is_one_line(place: str, text: str) -> None:
    """Place, what is wrong, what would be right."""
    assert str(Misfit(place, "it is wrong", "do this")) == text
