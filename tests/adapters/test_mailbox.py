"""From a mail, gzip or zip to the documents in it, under one budget."""

from __future__ import annotations

import base64
import gzip
import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mtasts.adapters import mailbox
from postfix_mtasts.adapters.mailbox import Budget, Document, Fault, documents_of_file, documents_of_mail

JSON = b'{"report-id": 1, "policies": []}'
GZIP = gzip.compress(JSON)


def zipped(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "."), data)
    return stream.getvalue()


def part(header: str, body: bytes) -> bytes:
    return header.encode() + b"\n\n" + body


def multipart(*parts: bytes, subtype: str = "mixed", boundary: str = "b") -> bytes:
    head = f'Content-Type: multipart/{subtype}; boundary="{boundary}"\n\npreamble\n'.encode()
    line = b"--" + boundary.encode()
    return head + b"".join(line + b"\n" + part + b"\n" for part in parts) + line + b"--\nepilogue\n"


def told(mail: bytes) -> list[bytes | str]:
    """Documents and faults of a mail."""
    found = documents_of_mail(mail, Budget())
    return [item.reason if isinstance(item, Fault) else bytes(item.data).strip() for item in found]


BASE64 = base64.encodebytes(GZIP)
TLSRPT = "Content-Type: application/tlsrpt+gzip"
QUOTED = "Content-Type: application/json\nContent-Transfer-Encoding: quoted-printable"
TLSRPT_REPORT = 'report; report-type="tlsrpt"'
BOUNCE = 'report; report-type="delivery-status"'
READ = [
    ("base64", part(TLSRPT + "\nContent-Transfer-Encoding: base64", BASE64)),
    ("base64 in capitals", part(TLSRPT + "\ncontent-transfer-encoding: BASE64", BASE64)),
    ("base64 that nobody announced", part(TLSRPT, BASE64)),
    ("base64 with a footer", part(TLSRPT + "\nContent-Transfer-Encoding: base64", BASE64 + b"-- \na mailing list\n")),
    (
        "base64 with blanks and stars",
        part(TLSRPT + "\nContent-Transfer-Encoding: base64", BASE64.replace(b"A", b" *A")),
    ),
    ("binary", part(TLSRPT, GZIP)),
    ("binary that is called base64", part(TLSRPT + "\nContent-Transfer-Encoding: base64", GZIP)),
    ("plain JSON", part("Content-Type: application/tlsrpt+json", JSON)),
    ("plain JSON under a gzip type", part(TLSRPT, JSON)),
    ("quoted-printable", part(QUOTED, JSON.replace(b":", b"=3A"))),
    ("text with a report's name", part('Content-Type: text/plain; name="a!b!1!2.json"', JSON)),
    ("zip", part("Content-Type: application/zip", zipped(a__json=JSON))),
    ("gzip in gzip", part(TLSRPT, gzip.compress(GZIP))),
    ("gzip in zip", part(TLSRPT, zipped(a=GZIP))),
    ("gzip with junk behind", part(TLSRPT, GZIP + b"junk")),
    ("two members of gzip", part(TLSRPT, gzip.compress(JSON[:9]) + gzip.compress(JSON[9:]))),
    ("multipart", multipart(part("Content-Type: text/plain", b"hello"), part(TLSRPT, GZIP))),
    ("multipart in multipart", multipart(multipart(part(TLSRPT, GZIP), boundary="inner"), boundary="outer")),
    ("multipart without its last line", multipart(part(TLSRPT, GZIP)).partition(b"--b--")[0]),
    ("multipart with CRLF", multipart(part(TLSRPT, BASE64)).replace(b"\n", b"\r\n")),
    ("multipart with CR CR LF", multipart(part(TLSRPT, BASE64)).replace(b"\n", b"\r\r\n")),
    ("a forwarded mail", multipart(part("Content-Type: message/rfc822", part(TLSRPT, GZIP)))),
    ("a From_ line in front", b"From x@y Mon Jun  1 00:00:00 2026\n" + part(TLSRPT, GZIP)),
    ("another type in a report", multipart(part("Content-Type: application/x-tls", GZIP), subtype=TLSRPT_REPORT)),
    ("plain text in a report", multipart(part("Content-Type: text/plain", BASE64), subtype=TLSRPT_REPORT)),
    ("a part without a header", multipart(b"\nhello", part(TLSRPT, GZIP))),
]


@pytest.mark.parametrize(("title", "mail"), READ, ids=[row[0] for row in READ])
def test_a_document_is_found(title: str, mail: bytes) -> None:
    """However it was packed."""
    assert told(mail) == [JSON]


PASSED_OVER = [
    ("nothing", b""),
    ("a plain mail", b"Subject: hello\n\nhello"),
    ("a header without an end", b"Subject: hello"),
    ("a bounce of a report", multipart(part("Content-Type: message/rfc822", part(TLSRPT, GZIP)), subtype=BOUNCE)),
    ("a multipart without a boundary", b"Content-Type: multipart/mixed\n\n" + GZIP),
    ("a damaged zip of another mail", part("Content-Type: application/zip", b"PK\x03\x04")),
    ("a damaged gzip of another mail", part("Content-Type: application/gzip", GZIP[:-9])),
]


@pytest.mark.parametrize(("title", "mail"), PASSED_OVER, ids=[row[0] for row in PASSED_OVER])
def test_other_mail_is_passed_over(title: str, mail: bytes) -> None:
    """Without a word."""
    assert told(mail) == []


def nested(levels: int, header: str = 'Content-Type: multipart/mixed; boundary="b{}"') -> bytes:
    return b"".join(f"{header}\n\n--b{{}}\n".format(level, level).encode() for level in range(levels))


FAULTS = [
    ("a damaged gzip", part(TLSRPT, GZIP[:-9]), "damaged gzip"),
    ("gzip with a wrong checksum", part(TLSRPT, GZIP[:-8] + b"12345678"), "damaged gzip"),
    ("a damaged zip", part(TLSRPT, zipped(a=JSON * 50)[:-30]), "damaged zip"),
    ("a zip that ends early", part(TLSRPT, b"PK\x03\x04PK\x05\x06"), "damaged zip"),
    ("a zip of many files", part(TLSRPT, zipped(**{f"f{n}": b"" for n in range(1_001)})), "more than 1000 parts"),
    ("many members of gzip", part(TLSRPT, gzip.compress(b"") * 1_001), "more than 1000 parts"),
    ("a bomb", part(TLSRPT, gzip.compress(b" " * (65 << 20), 1)), "more than 64 MiB unpacked"),
    (
        "archives without an end",
        part(TLSRPT, gzip.compress(gzip.compress(gzip.compress(GZIP)))),
        "archives within archives",
    ),
    ("many parts", multipart(*[b"\nx"] * 1_001), "more than 1000 parts"),
    ("many levels", nested(3_000), "more than 10 levels of MIME"),
    ("many forwarded mails", b"Content-Type: message/rfc822\n\n" * 3_000, "more than 10 levels of MIME"),
]


@pytest.mark.parametrize(("title", "mail", "want"), FAULTS, ids=[row[0] for row in FAULTS])
def test_a_fault_says_why(title: str, mail: bytes, want: str) -> None:
    """What claims to be a report and cannot be unpacked, and what is more than anyone sends."""
    assert told(mail)[-1] == want


def test_one_budget_holds_for_all_parts_of_a_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three parts that fit each by itself do not fit together."""
    budget = Budget(size=2 * len(JSON))
    found = list(documents_of_mail(multipart(*[part(TLSRPT, GZIP)] * 3), budget))
    assert [type(item) for item in found] == [Document, Document, Fault]


def test_hints_come_from_the_nearest_header() -> None:
    """Of a forwarded report, not of the mail that carries it."""
    inner = part(
        "TLS-Report-Submitter: Sender.Example\nTLS-Report-Domain: b.example\nSubject: Report-ID: <7>\n" + TLSRPT, GZIP
    )
    (found,) = documents_of_mail(multipart(part("Content-Type: message/rfc822", inner)), Budget())
    assert isinstance(found, Document)
    assert (found.hints.submitter, found.hints.domain, found.hints.report_id) == ("sender.example", "b.example", "7")


NAMES = [
    ("plain", 'Content-Disposition: attachment; filename="a.example!b.example!1!2.json"'),
    ("continued", "Content-Disposition: attachment; filename*0=a.example!; filename*1=b.example!1!2.json"),
    ("encoded", "Content-Type: application/json; name*=utf-8''a.example%21b.example%211%212.json"),
]


@pytest.mark.parametrize(("title", "header"), NAMES, ids=[row[0] for row in NAMES])
def test_hints_come_from_the_file_name(title: str, header: str) -> None:
    """However the header writes it (RFC 2231)."""
    (found,) = documents_of_mail(part(header, JSON), Budget())
    assert isinstance(found, Document)
    assert (found.hints.submitter, found.hints.domain, found.hints.begin) == ("a.example", "b.example", 1.0)


def test_a_file_is_read_by_its_content() -> None:
    """Whatever its name says."""
    for data in (JSON, GZIP, zipped(a__json=JSON)):
        (found,) = documents_of_file(data, "report.json", Budget())
        assert isinstance(found, Document)
        assert (found.data, found.claimed) == (JSON, True)


ODD_HEADERS = [
    b"Content-Type: multipart/mixed; " + b"a=b; " * 12_000,
    b'Content-Type: multipart/mixed; boundary="' + b"\\" * 60_000,
    b"Content-Type: application/json;" + b"".join(b" name*%d*=a;" % n for n in range(3_000)),
    b"Content-Type: application/json; name*=x''%ff; name*=y''",
    b"Content-Type: \xff\xfe; boundary=\xff",
    b"Content-Type: multipart/mixed; boundary=\xff\n\n--\xff\n\nx\n--\xff--",
    b"Content-Type: multipart/mixed; boundary*0*=a''%00;boundary*2=b",
    b"X: " + b"a" * 1_000_000,
    b"X: a\n" * 100_000,
]


@pytest.mark.parametrize("head", ODD_HEADERS, ids=range(len(ODD_HEADERS)))
def test_odd_headers_raise_nothing(head: bytes) -> None:
    """Python's email package raises many things on hostile parameters."""
    list(documents_of_mail(head + b"\n\n" + GZIP, Budget()))


pieces = st.sampled_from(
    [
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"message/rfc822",
        b"application/tlsrpt+gzip",
        b"\n",
        b"\n\n",
        b"\r",
        b"--b",
        b"--b--",
        b"Content-Transfer-Encoding: base64",
        BASE64,
        GZIP,
        JSON,
        b"name*0*=",
        b'"',
        b";",
        b"PK\x03\x04",
        b"\xff",
    ]
)


@given(st.lists(pieces, max_size=30).map(b"".join) | st.binary(max_size=200))
def test_whatever_the_bytes(data: bytes) -> None:
    """Nothing is raised, and the budget is kept."""
    for found in (documents_of_mail(data, budget := Budget()), documents_of_file(data, "x.gz", Budget())):
        assert sum(len(item.data) for item in found if isinstance(item, Document)) <= mailbox.UNPACKED_LIMIT
    assert budget.size >= 0
