"""Parsers of what comes from outside, and bytes made to break them.

    make fuzz                              one minute each
    python -m tests.fuzz.targets 10 probe  ten seconds of one

A target takes bytes and may raise what it promises to raise; anything else is
a bug. Inputs are mutations of seeds; one that breaks a target is printed, and
belongs into that parser's own tests. A short run is tests/fuzz/test_targets.py.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

import dns.message
import dns.rrset

from postfix_mtasts.adapters.dns.absence import TXT, make_question, understand
from postfix_mtasts.adapters.dns.client import DnsClient
from postfix_mtasts.adapters.store.rows import decode
from postfix_mtasts.core.names import Domain, parse_key
from postfix_mtasts.core.netstring import NetstringDecoder
from postfix_mtasts.core.policy import parse_policy
from postfix_mtasts.core.record import select_record
from postfix_mtasts.core.socketmap import parse_request
from postfix_mtasts.core.tlsreport import read_reports
from postfix_mtasts.core.tlsrpt import select_record as select_tlsrpt
from postfix_mtasts.daemon.workers.wire import Dane, Discover, answer_from_json, counts_from_json
from postfix_mtasts.errors import InputError
from postfix_mtasts.reports.reading import read_file, read_mail
from tests.support.fakes import reports

NAME = "_mta-sts.example.test"
_QUESTION = make_question(NAME, TXT) or b""


def _answer(*records: str) -> bytes:
    reply = dns.message.make_response(dns.message.make_query(NAME, "TXT"))
    if records:
        reply.answer.append(dns.rrset.from_text(f"{NAME}.", 60, "IN", "TXT", *records))
    else:
        reply.authority.append(dns.rrset.from_text("test.", 60, "IN", "SOA", "a. b. 1 2 3 4 60"))
    return reply.to_wire()


@dataclass(frozen=True, slots=True)
class Target:
    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    promised: tuple[type[Exception], ...] = ()


def _netstrings(data: bytes) -> None:
    decoder = NetstringDecoder()
    decoder.feed(data)
    while (payload := decoder.next_payload()) is not None:
        parse_request(payload)


def _wire(data: bytes) -> None:
    answer = json.loads(data)
    if isinstance(answer, dict):
        counts_from_json(answer)
        for job in (Discover(Domain("example.test")), Dane(Domain("example.test"), 25)):
            answer_from_json(job, answer)


_CLIENT = DnsClient(("127.0.0.1:53",), 1.0)
_POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.test\r\nmx: *.example.test\r\nmax_age: 86400\r\n"
_ENTRY = b'{"v":1,"id":"1","fetched":1.0,"used":0.0,"policy":"version: STSv1\\nmode: none\\nmax_age: 1"}'

_REPORT = reports.document(reports.policy(5, 2, reports.detail(1)), reports.policy(5, 1, type="tlsa"))


def _zip(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", data)
    return stream.getvalue()


TARGETS = {
    "netstring": Target(_netstrings, (b"20:postfix example.test,", b"0:,3:a b,"), (InputError,)),
    "key": Target(parse_key, (b"example.test", "ü.example。test.:25".encode(), b"[mx.example.test]:587")),
    "record": Target(
        lambda data: select_record([data]), (b"v=STSv1; id=20260101;", b"v=STSv1;id=1; x=y"), (InputError,)
    ),
    "policy": Target(parse_policy, (_POLICY, b"\xef\xbb\xbf" + _POLICY), (InputError,)),
    "tlsrpt": Target(lambda data: select_tlsrpt([data]), (b"v=TLSRPTv1; rua=mailto:r@example.test,https://x/",)),
    "report": Target(read_reports, (_REPORT, b"[" + _REPORT + b", " + _REPORT + b"]"), (InputError,)),
    "mail": Target(read_mail, (reports.mail(_REPORT), b"Content-Type: message/rfc822\n\n" + reports.mail(_REPORT))),
    "archive": Target(lambda data: read_file(data, "x.json.gz"), (gzip.compress(_REPORT), _zip(_REPORT))),
    "probe": Target(lambda data: understand(data, _QUESTION), (_answer(), _answer('"v=STSv1; id=1"'))),
    "dns": Target(lambda data: _CLIENT.txt_from_wire(NAME, data), (_answer(), _answer('"v=STSv1; id=1"', '"x"'))),
    "store": Target(
        lambda data: decode(Domain("example.test"), data.decode("utf-8", "replace")), (_ENTRY,), (InputError,)
    ),
    "worker": Target(
        _wire,
        (b'{"n":1,"found":{"record_id":"1","text":"version: STSv1","fetched_at":1}}', b'{"n":1,"absent":{"ttl":1}}'),
        (ValueError,),  # of json: the pool then does without that worker
    ),
}


def mutated(seed: bytes, chance: random.Random) -> bytes:
    """*seed* with a few bytes changed, cut, doubled, or put in."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                data[at:at] = chance.randbytes(chance.randint(1, 8))
            case 1:
                del data[at : at + chance.randint(1, 8)]
            case 2 if at < len(data):
                data[at] ^= 1 << chance.randrange(8)
            case 3:
                data[at:at] = data[: chance.randint(0, 64)]
            case 4 if at < len(data):
                data[at] = chance.choice(b'\x00\xff\r\n\t :;=,.{}"\\-*[]')
            case _:
                data[at:at] = bytes([chance.choice(b"0123456789")]) * chance.randint(1, 300)
    return bytes(data)


def attack(target: Target, chance: random.Random) -> bytes:
    """Run *target* on one mutation, and return it. Raises: whatever the target did not promise."""
    data = mutated(chance.choice(target.seeds), chance)
    try:
        target.run(data)
    except target.promised:
        pass
    except Exception as error:
        error.add_note(f"input: {data!r}")
        raise
    return data


def main(seconds: float, names: list[str]) -> None:
    for name in names or TARGETS:
        chance, until, runs = random.Random(), time.monotonic() + seconds, 0
        while time.monotonic() < until:
            attack(TARGETS[name], chance)
            runs += 1
        print(f"{name:10} {runs:9,} inputs, nothing but what it promises", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
