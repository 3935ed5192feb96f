"""errors.py: what is raised on purpose carries what was seen, and its message is the fault's sentence."""

from __future__ import annotations

import pytest

from postfix_mtasts.errors import (
    DnsError,
    FetchError,
    InputError,
    MtaStsError,
    PolicySyntaxError,
    RecordError,
    UnavailableError,
)
from postfix_mtasts.faults import Fault, ResultType, Seen

SEEN = [
    (
        DnsError(Fault.DNS_NAME, "a..b", "an empty label"),
        Seen(Fault.DNS_NAME, "a..b", "an empty label"),
        UnavailableError,
    ),
    (RecordError(Fault.RECORD_NO_ID), Seen(Fault.RECORD_NO_ID), InputError),
    (PolicySyntaxError(Fault.POLICY_MODE, "", "x", 2), Seen(Fault.POLICY_MODE, "", "x", 2), InputError),
    (FetchError("http", Fault.HTTP_STATUS, "h", "404"), Seen(Fault.HTTP_STATUS, "h", "404"), UnavailableError),
]


@pytest.mark.parametrize(("error", "seen", "kind"), SEEN, ids=[type(row[0]).__name__ for row in SEEN])
def test_an_error_is_data_and_a_sentence(error: MtaStsError, seen: Seen, kind: type[MtaStsError]) -> None:
    """Who catches it decides by the fault; who shows it takes the sentence."""
    assert isinstance(error, kind)
    assert error.seen == seen  # type: ignore[attr-defined]
    assert str(error) == error.reason == str(seen)  # type: ignore[attr-defined]


def test_a_fetch_that_failed_knows_its_stage_and_result_type() -> None:
    """The result type follows from the fault (RFC 8460 section 4.3.2.2)."""
    error = FetchError("tls", Fault.CERTIFICATE_EXPIRED, "mta-sts.example.com")
    assert (error.stage, error.result_type) == ("tls", ResultType.WEBPKI_INVALID)
