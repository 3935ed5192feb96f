"""resolving/audit/run.py: many domains side by side, told in order, and no host blamed for a blocked port."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ports import Look
from postfix_mtasts.faults import Fault, Seen
from postfix_mtasts.resolving.audit.audit import Report, Stage
from postfix_mtasts.resolving.audit.run import blocked, examine
from tests.support.fakes.owned import MX, POLICY, PUBLIC, PUBLIC_MX, D, Owned

REFUSED = Look(Seen(Fault.MAIL_NOT_CONNECTED, MX, "refused"))
OTHERS = [Domain(f"d{number}.example") for number in range(30)]


def severities(report: Report) -> list[str]:
    return [str(found.severity) for found in report.findings if found.code == "mail-unreachable"]


def test_reports_come_in_the_order_given() -> None:
    """Each as soon as those before it are told; progress counts."""
    counted: list[int] = []
    reports = list(examine([*OTHERS, D], Owned().world(), progress=counted.append))
    assert [report.domain for report in reports] == [*OTHERS, D]
    assert counted == list(range(1, len(OTHERS) + 2))


def test_one_domain_is_told_stage_by_stage() -> None:
    """As they finish."""
    stages: list[Stage] = []
    (report,) = examine([D], Owned().world(), told=stages.append)
    assert tuple(stages) == report.stages


@pytest.mark.parametrize("domains", [[D], [*OTHERS, D]], ids=["one domain", "many"])
def test_where_no_mail_host_answers_none_is_to_blame(domains: list[Domain]) -> None:
    """Port 25 seems to be blocked: warnings, and one hint."""
    owned = Owned(looks={(MX, PUBLIC_MX): REFUSED})
    world = owned.world()
    report = list(examine(domains, world))[-1]
    assert blocked(world)
    assert severities(report) == ["warning"]
    assert report.verdict == "warning"


def test_where_another_mail_host_answers_the_silent_one_is_to_blame() -> None:
    """Whichever of the domains is done first."""
    owned = Owned()
    owned.records["a", MX] = (PUBLIC_MX, "9.9.9.10")
    owned.looks[MX, "9.9.9.10"] = REFUSED
    other = Domain("other.example")
    owned.records |= {
        ("txt", f"_mta-sts.{other}"): (b"v=STSv1; id=1;",),
        ("a", f"mta-sts.{other}"): (PUBLIC,),
        ("mx", other): owned.records["mx", D],
    }
    owned.bodies[PUBLIC] = POLICY
    world = owned.world()
    reports = list(examine([other, D], world))
    assert not blocked(world)
    assert [severities(report) for report in reports] == [["warning"], ["warning"]]
    owned.records["a", MX] = ("9.9.9.10",)
    owned.records["mx", other] = ()
    owned.records["a", other] = (PUBLIC_MX,)
    owned.looks[other, PUBLIC_MX] = owned.looks[MX, PUBLIC_MX]
    assert severities(next(iter(examine([D, other], owned.world())))) == ["error"]


def test_a_bug_is_not_swallowed() -> None:
    """It ends the command, with its place."""
    owned = Owned()
    del owned.bodies[PUBLIC]
    with pytest.raises(KeyError):
        list(examine([D, OTHERS[0]], owned.world()))
