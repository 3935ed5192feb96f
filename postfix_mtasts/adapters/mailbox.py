"""From a mail, gzip or zip to the JSON documents in it, under one budget.

Mails are cut by byte positions: Python's email package needs ten times a
mail's size and recurses without a limit, so it reads parameters of headers only.

Rule 1: one budget holds for everything that one mail or file unpacks to,
        however it is nested; what goes beyond is refused before it is kept.
Rule 2: content decides, not names: what begins as gzip is gzip. Names and
        types tell only whether something claims to be a TLS report.
Rule 3: what other mail holds is passed over without a word; only what claims
        to be a TLS report and cannot be unpacked is a Fault.
Rule 4: no name from a mail is ever used as a path.

Source: RFC 8460 section 5, RFC 2045 to 2047, RFC 1952; PKWARE's APPNOTE.TXT.
"""

from __future__ import annotations

import binascii
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from email.message import Message
from typing import TypeAlias

from ..core.tlsreport import Hints, clean, hints_of_name, id_of_subject, normal_domain
from ..errors import ReportError

MAIL_LIMIT = 64 * 1024 * 1024  # bytes of one mail or file; a longer one is not read at all
UNPACKED_LIMIT = 64 * 1024 * 1024  # bytes of all documents of one mail
PART_LIMIT = 1_000  # MIME parts, gzip members and zip members of one mail
DEPTH_LIMIT = 10  # MIME parts within parts; archives within archives take from the same

_HEADER_LIMIT = 64 * 1024  # bytes of one part's header; what is beyond is passed over
_CHUNK = 64 * 1024
_DIRECTORY_LIMIT = 1024 * 1024  # bytes of a zip's central directory
_HEADER_END = re.compile(rb"\A\r*\n|\n\r*\n")
_FIELD = re.compile(
    rb"^(content-type|content-disposition|content-transfer-encoding|subject|tls-report-domain|tls-report-submitter)"
    rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE | re.MULTILINE,
)
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"
_NOT_BASE64 = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="))
_BASE64_BEGIN = re.compile(rb"\s*(?:H4sI|UEsDB|ey|W[wy])[A-Za-z0-9+/\s]")  # gzip, zip, "{", "["
_TLSRPT_TYPES = ("application/tlsrpt+gzip", "application/tlsrpt+json")
_TYPES = (
    *_TLSRPT_TYPES,
    *("application/gzip", "application/x-gzip", "application/json", "application/octet-stream"),
    *("application/zip", "application/x-zip-compressed", "application/x-zip"),
)
_NAMES = re.compile(r"\.(?:json|gz|zip)\Z", re.IGNORECASE)
_JSON_NAME = re.compile(r"\.json(?:\.gz|\.zip)?\Z", re.IGNORECASE)
_REPORT_NAME = re.compile(r"(?:[^!]+!){3}[^!]+(?:![^!]*)?\.json(?:\.gz|\.zip)?\Z", re.IGNORECASE)
_ODD_HEADER = (ValueError, LookupError, TypeError, AttributeError)  # what email raises on hostile parameters
_ODD_ZIP = (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, ValueError, LookupError, EOFError, OSError)


@dataclass(slots=True)
class Budget:
    """What one mail may still take."""

    size: int = UNPACKED_LIMIT
    parts: int = PART_LIMIT

    def take_part(self) -> None:
        """Raises: ReportError."""
        self.parts -= 1
        if self.parts < 0:
            raise ReportError(f"more than {PART_LIMIT} parts")

    def take(self, size: int) -> None:
        """Raises: ReportError."""
        self.size -= size
        if self.size < 0:
            raise ReportError(f"more than {UNPACKED_LIMIT >> 20} MiB unpacked")


@dataclass(frozen=True, slots=True)
class Document:
    """What may be a report's JSON."""

    data: bytes | bytearray
    hints: Hints
    claimed: bool  # its name or type says that it is a TLS report


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that claims to be a TLS report and cannot be unpacked."""

    reason: str


Found: TypeAlias = "Document | Fault"


def documents_of_mail(mail: bytes, budget: Budget) -> Iterator[Found]:
    """Yield what a mail holds that may be a report. Never raises."""
    try:
        yield from _message(memoryview(mail), budget, 0)
    except ReportError as error:
        yield Fault(str(error))


def documents_of_file(data: bytes, name: str, budget: Budget) -> Iterator[Found]:
    """Yield what a file holds that may be a report: JSON, or gzip or zip of it. Never raises."""
    yield from _unpacked(data, name, hints_of_name(name), bool(_JSON_NAME.search(name)), budget, True)


def subject_of(mail: bytes) -> str:
    """What a mail calls itself, for a list."""
    header, _ = _split(memoryview(mail))
    return clean(" ".join(header.field("Subject").split()), 200)


# MIME.


class _Header:
    """One part's header: the fields that matter here, understood only where they are asked for."""

    def __init__(self, head: bytes) -> None:
        self._fields = Message()
        for name, value in _FIELD.findall(head):
            text = value.replace(b"\n", b"").strip().decode("ascii", "surrogateescape")
            self._fields[name.decode("ascii")] = text

    def _understood(self, read: Callable[[], object]) -> str:
        try:
            return str(read() or "")
        except _ODD_HEADER:
            return ""

    def field(self, name: str) -> str:
        return clean(str(self._fields.get(name, "")))

    @property
    def type(self) -> str:
        return self._understood(self._fields.get_content_type)

    @property
    def boundary(self) -> str:
        return self._understood(self._fields.get_boundary).rstrip()

    @property
    def report_type(self) -> str:
        return self._understood(lambda: self._fields.get_param("report-type")).lower()

    @property
    def encoding(self) -> str:
        return self.field("Content-Transfer-Encoding").lower()

    @property
    def name(self) -> str:
        return clean(self._understood(self._fields.get_filename))

    def hints(self) -> Hints:
        return Hints(
            submitter=normal_domain(self.field("TLS-Report-Submitter")),
            domain=normal_domain(self.field("TLS-Report-Domain")),
            report_id=id_of_subject(self.field("Subject")),
        )


def _split(part: memoryview) -> tuple[_Header, memoryview]:
    """Cut a part into its header and its body. Line ends may be LF, CRLF or CR CR LF."""
    end = _HEADER_END.search(part)
    head = bytes(part[: end.end() if end else len(part)][:_HEADER_LIMIT])
    if b"\r" in head:
        head = re.sub(rb"\r+\n", b"\n", head).replace(b"\r", b" ")
    return _Header(head), part[end.end() :] if end else part[:0]


def _message(mail: memoryview, budget: Budget, depth: int) -> Iterator[Found]:
    header, body = _split(mail)
    yield from _part(header, body, header.hints(), False, budget, depth)


def _part(
    header: _Header, body: memoryview, hints: Hints, claimed: bool, budget: Budget, depth: int
) -> Iterator[Found]:
    """Raises: ReportError where the budget is spent."""
    budget.take_part()
    if depth >= DEPTH_LIMIT:
        raise ReportError(f"more than {DEPTH_LIMIT} levels of MIME")
    kind = header.type
    if kind.startswith("multipart/"):
        claimed = claimed or header.report_type == "tlsrpt"
        if kind == "multipart/report" and header.report_type not in ("", "tlsrpt"):
            return  # a bounce of a report is not a report
        for piece in _pieces(body, header.boundary):
            inner, content = _split(piece)
            yield from _part(inner, content, hints, claimed, budget, depth + 1)
    elif kind in ("message/rfc822", "message/global"):
        content = body
        if header.encoding in ("base64", "quoted-printable"):
            decoded = _decoded(body, header.encoding)
            budget.take(len(decoded))
            content = memoryview(decoded)
        yield from _message(content, budget, depth + 1)
    elif kind in _TYPES or _NAMES.search(header.name) or (claimed and _looks_packed(bytes(body[:64]))):
        name = header.name
        claimed = claimed or kind in _TLSRPT_TYPES or bool(_REPORT_NAME.search(name))
        hints = hints.or_else(hints_of_name(name))
        yield from _unpacked(_decoded(body, header.encoding), name, hints, claimed, budget, False)


def _pieces(body: memoryview, boundary: str) -> Iterator[memoryview]:
    """Cut a multipart's body; the last piece may lack its closing line."""
    if not boundary:
        return
    line = re.compile(rb"^--" + re.escape(boundary.encode("utf-8", "surrogateescape")) + rb"(--)?[ \t]*\r*$", re.M)
    start = None
    for match in line.finditer(body):
        if start is not None:
            yield body[start : match.start()]
        if match[1]:
            return
        start = match.end() + 1
    if start is not None:
        yield body[start:]


def _looks_packed(begin: bytes) -> bool:
    """Whether a body that begins so may be a report, whatever type it is given."""
    return begin.lstrip().startswith((_GZIP, _ZIP, b"{")) or bool(_BASE64_BEGIN.match(begin))


def _decoded(body: memoryview, encoding: str) -> bytes:
    """Undo the transfer encoding; base64 also where nobody said that it is."""
    begin = bytes(body[:64])
    if encoding == "quoted-printable":
        return binascii.a2b_qp(bytes(body))
    if begin.lstrip().startswith((_GZIP, _ZIP, b"{", b"[")):
        return bytes(body)
    if encoding == "base64" or _BASE64_BEGIN.match(begin):
        return _base64(bytes(body))
    return bytes(body)


def _base64(body: bytes) -> bytes:
    """Decode base64 up to its padding, whatever stands between and behind."""
    digits = body.translate(None, _NOT_BASE64).partition(b"=")[0]
    if len(digits) % 4 == 1:
        digits = digits[:-1]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


# Archives.


def _unpacked(
    data: bytes | bytearray, name: str, hints: Hints, claimed: bool, budget: Budget, is_file: bool, depth: int = 0
) -> Iterator[Found]:
    """Yield the document in *data*, or those in the archive that it is.

    Args:
        is_file: a damaged archive is a Fault even if its name does not claim a report.
    """
    try:
        if depth == 3:
            raise ReportError("archives within archives")
        if data.startswith(_GZIP):
            unpacked = _gunzip(data, budget)
            inner = re.sub(r"\.gz\Z", "", name, flags=re.IGNORECASE)
            yield from _unpacked(unpacked, inner, hints, claimed, budget, is_file, depth + 1)
        elif data.startswith(_ZIP):
            for inner, unpacked in _unzip(data, budget):
                claims = claimed or bool(_REPORT_NAME.search(inner))
                given = hints_of_name(inner)
                yield from _unpacked(unpacked, inner, hints.or_else(given), claims, budget, is_file, depth + 1)
        else:
            if depth == 0:
                budget.take(len(data))
            yield Document(data, hints, claimed)
    except ReportError as error:
        if claimed or is_file:
            yield Fault(str(error))


def _gunzip(data: bytes | bytearray, budget: Budget) -> bytearray:
    """Unpack all members; junk behind the first is passed over. Raises: ReportError."""
    if len(data) > _CHUNK:  # which may be a bomb: see how much it is before any of it is kept
        for _ in _unpacked_chunks(data, replace(budget)):
            pass
    unpacked = bytearray()
    for chunk in _unpacked_chunks(data, budget):
        unpacked += chunk
    return unpacked


def _unpacked_chunks(data: bytes | bytearray, budget: Budget) -> Iterator[bytes]:
    """Raises: ReportError."""
    view, at = memoryview(data), 0
    while view[at : at + 2] == _GZIP:
        budget.take_part()
        member = zlib.decompressobj(wbits=31)
        try:
            while not member.eof:
                piece: bytes | memoryview = view[at : at + _CHUNK]
                if not piece:
                    raise zlib.error
                at += len(piece)
                while piece and not member.eof:
                    chunk = member.decompress(piece, _CHUNK)
                    budget.take(len(chunk))
                    yield chunk
                    piece = member.unconsumed_tail
        except zlib.error:
            raise ReportError("damaged gzip") from None
        at -= len(member.unused_data)


def _unzip(data: bytes | bytearray, budget: Budget) -> Iterator[tuple[str, bytearray]]:
    """Yield name and content of each file. Raises: ReportError."""
    end = data.rfind(b"PK\x05\x06")
    if end < 0 or len(data) < end + 22:
        raise ReportError("damaged zip")
    if int.from_bytes(data[end + 12 : end + 16], "little") > _DIRECTORY_LIMIT:  # zipfile reads it whole
        raise ReportError(f"more than {PART_LIMIT} parts")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                budget.take_part()
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ReportError("a zip with an unusual compression")
                if member.file_size > budget.size:  # as it says itself, and need not be true
                    budget.take(member.file_size)
                unpacked = bytearray()
                with archive.open(member) as stream:
                    while chunk := stream.read(_CHUNK):
                        budget.take(len(chunk))
                        unpacked += chunk
                yield clean(member.filename), unpacked
    except _ODD_ZIP:
        raise ReportError("damaged zip") from None
