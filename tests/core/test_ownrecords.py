"""core/ownrecords.py: the records that a domain publishes, as zone files and nsupdate have them."""

from __future__ import annotations

import pytest

from postfix_mtasts.core.names import Domain
from postfix_mtasts.core.ownrecords import OwnRecord, nsupdate_lines, records, tlsrpt_text, zone_lines
from postfix_mtasts.core.record import select_record
from postfix_mtasts.core.tlsrpt import read_record
from postfix_mtasts.errors import RecordError

D = Domain("example.com")


def test_what_is_published_is_what_senders_read() -> None:
    """By our own parsers."""
    sts, alias, tlsrpt = records(D, "7", "web.example.net", ["mailto:a@example.com", "https://r.example/x"])
    found = select_record([sts.data.encode()])
    assert found is not None
    assert found.id == "7"
    wanted = read_record([tlsrpt.data.encode()])
    assert wanted is not None
    assert wanted.rua == ("mailto:a@example.com", "https://r.example/x")
    assert alias == OwnRecord("mta-sts.example.com", "CNAME", "web.example.net.")


def test_what_is_not_asked_for_is_left_out() -> None:
    """Neither an alias nor reports."""
    assert [each.name for each in records(D, "7", None, [])] == ["_mta-sts.example.com"]
    assert tlsrpt_text([]) is None


@pytest.mark.parametrize("uri", ["ftp://a.example/", "a@example.com", "mailto:\u00e9@example.com", ""])
def test_a_uri_that_no_report_can_go_to_is_refused(uri: str) -> None:
    """RFC 8460 section 3."""
    with pytest.raises(RecordError):
        tlsrpt_text([uri])


def test_long_text_is_cut_into_strings() -> None:
    """255 bytes each, and what zone files read otherwise is escaped."""
    record = OwnRecord("a.example", "TXT", "x" * 254 + '"\\' + "y")
    first, second = record.presentation.split(" ")
    assert first == '"' + "x" * 254 + '\\""'
    assert second == '"\\\\y"'


def test_lines() -> None:
    """A zone file has each record; nsupdate deletes before it adds, and sends."""
    own = [OwnRecord("a.example", "CNAME", "b.example.")]
    assert list(zone_lines(own, 60)) == ["a.example. 60 IN CNAME b.example."]
    assert list(nsupdate_lines(own, 60)) == [
        "update delete a.example.",
        "update add a.example. 60 CNAME b.example.",
        "send",
    ]
