"""`query`: answers, exit codes, the look of --explain, the shape of --json.

The look is held by tests/cli/golden/*.txt; after a change that is meant,
`WRITE_GOLDEN=1 pytest tests/cli/test_query.py` writes them anew.
"""

from __future__ import annotations

import io
import json
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from postfix_mtasts.cli import explain
from postfix_mtasts.cli.commands import query
from postfix_mtasts.cli.main import main
from postfix_mtasts.config.settings import LookupSettings, MapSettings
from postfix_mtasts.core.dnsdata import DnsAnswer, Mx, Tlsa
from postfix_mtasts.core.outcome import Note, Stage
from postfix_mtasts.core.ports import Sources, Transfer
from postfix_mtasts.core.quoting import json_line
from postfix_mtasts.daemon.operating.codec import to_json
from postfix_mtasts.errors import DnsError, FetchError
from postfix_mtasts.faults import Fault
from postfix_mtasts.resolving.tracing import Inquiry, inquire
from tests.support.fakes import told
from tests.support.fakes.control import FakeControl
from tests.support.fakes.faults import servfail
from tests.support.servers.dnsserver import DnsServer

GOLDEN = Path(__file__).parent / "golden"
RECORD = b"v=STSv1; id=20260101;"
POLICY = b"version: STSv1\r\nmode: enforce\r\nmx: mx.example.com\r\nmx: *.mail.example.com\r\nmax_age: 604800\r\n"
HOST = "mta-sts.example.com"
ADDRESS = "192.0.2.1"
TLS = "TLSv1.3, certificate of mta-sts.example.com, valid until 2027-01-01, issued by Example Trust"
SECURE = "secure match=mx.example.com:.mail.example.com servername=hostname"


class Clock:
    """Each look at it takes 12 ms."""

    def __init__(self) -> None:
        self.now = 100.0

    def tick(self) -> float:
        self.now += 0.012
        return self.now


@dataclass
class World:
    """Literal records: DNS, one policy host, and a clock."""

    txt: Sequence[bytes] | DnsError = (RECORD,)
    body: bytes | FetchError = POLICY
    tls: str = TLS
    hangs: float = 0.0  # seconds before *body*
    mx: Sequence[Mx] | DnsError = ()
    tlsa: dict[str, Sequence[Tlsa] | DnsError] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)

    def sources(self) -> Sources:
        return Sources(FakeDns(self), FakeHosts(self), lambda: 1_700_000_000.0, False)


def answer(records: Any, name: str, secure: bool = False, exists: bool = True) -> DnsAnswer[Any]:
    if isinstance(records, DnsError):
        raise records
    return DnsAnswer(tuple(records), secure, 300.0, name, exists)


@dataclass
class FakeDns:
    world: World

    def txt(self, name: str) -> DnsAnswer[bytes]:
        return answer(self.world.txt, name, exists=bool(self.world.txt))

    def a(self, name: str) -> DnsAnswer[str]:
        return answer(["8.8.8.8"], name, secure=True)

    def aaaa(self, name: str) -> DnsAnswer[str]:
        return answer([], name, secure=True)

    def mx(self, name: str) -> DnsAnswer[Mx]:
        return answer(self.world.mx, name, secure=True)

    def tlsa(self, name: str) -> DnsAnswer[Tlsa]:
        return answer(self.world.tlsa.get(name, ()), name, secure=True)

    def cname(self, name: str) -> DnsAnswer[str]:
        return answer([], name)

    def for_dane(self) -> FakeDns:
        return self


@dataclass
class FakeHosts:
    world: World

    def get(self, host: str, addresses: Sequence[str], note: Note, transfer: Transfer | None = None) -> bytes:
        body, clock = self.world.body, self.world.clock
        reached = Stage(body.stage) if isinstance(body, FetchError) else Stage.POLICY
        told = ((Stage.ADDRESS, f"connected to {ADDRESS}"), (Stage.TLS, self.world.tls))
        for stage, seen in told:
            if stage is reached:
                break
            note(stage, seen)
        clock.now += self.world.hangs
        if isinstance(body, FetchError):
            raise body
        note(Stage.HTTP, f"200 text/plain, {len(body)} bytes")
        return body


def ask(world: World, key: str = "example.com", *, dane: bool = False, wait: float = 15.0, **lookup: Any) -> Inquiry:
    return inquire(
        key,
        key.encode(),
        "postfix-dane" if dane else "postfix",
        MapSettings(dane=dane),
        LookupSettings(wait=wait, **lookup),
        world.sources(),
        tick=world.clock.tick,
        waiting=lambda stage: None,
    )


def failed(stage: Stage, fault: Fault, value: str = "") -> FetchError:
    return FetchError(stage, fault, HOST, value)


SERVFAIL = servfail("no TXT answer for _mta-sts.example.com: SERVFAIL from 192.0.2.53:53")
HANGS = failed(Stage.HTTP, Fault.HTTP_LATE, "60")
EXPIRED = failed(Stage.TLS, Fault.CERTIFICATE_EXPIRED)
REDIRECT = failed(Stage.HTTP, Fault.HTTP_REDIRECT, "301 points to 'https://example.com/policy'")
UNREACHED = failed(Stage.ADDRESS, Fault.NOT_CONNECTED, f"{ADDRESS}: connection refused")
USABLE = Tlsa(3, 1, 1, bytes(32))
TWO_HOSTS = (Mx(10, "mx.example.com"), Mx(20, "b.mail.example.com"))
PARTIAL = {"_25._tcp.mx.example.com": (USABLE,)}
BOGUS = {f"_25._tcp.{mx.host}": servfail(f"no TLSA answer for _25._tcp.{mx.host}: SERVFAIL") for mx in TWO_HOSTS}

LOOKS: list[tuple[str, World, dict[str, Any]]] = [
    ("valid", World(), {}),
    ("expired-certificate", World(body=EXPIRED), {}),
    ("redirect", World(body=REDIRECT), {}),
    ("two-records", World(txt=(RECORD, b"v=STSv1; id=2;")), {}),
    ("testing", World(body=POLICY.replace(b"enforce", b"testing")), {}),
    ("hanging-policy-host", World(body=HANGS, hangs=60.0), {}),
    ("dns-fails", World(txt=SERVFAIL), {}),
    ("dns-fails-deferred", World(txt=SERVFAIL), {"on_dns_failure": "defer"}),
    ("no-record", World(txt=()), {}),
    ("no-connection", World(body=UNREACHED), {}),
    ("invalid-policy", World(body=POLICY.replace(b"enforce", b"Enforce")), {}),
    ("withdrawn", World(body=b"version: STSv1\nmode: none\nmax_age: 86400\n"), {}),
    ("unusable-mx", World(body=POLICY + b"mx: 192.0.2.25\r\n"), {}),
    ("dane-partial", World(mx=TWO_HOSTS, tlsa=dict(PARTIAL)), {"dane": True}),
    ("dane-without-tlsa", World(mx=TWO_HOSTS), {"dane": True}),
    ("dane-unknown", World(mx=TWO_HOSTS, tlsa=dict(BOGUS)), {"dane": True}),
    ("host-in-brackets", World(), {"key": "[mx.example.com]:587"}),
]


@pytest.mark.parametrize(("title", "world", "options"), LOOKS, ids=[look[0] for look in LOOKS])
def test_how_explain_looks(title: str, world: World, options: dict[str, Any]) -> None:
    """Every stage with its time, what was seen, what it means, and what to do; 80 columns at most."""
    options = dict(options)
    defer = {"on_dns_failure": options["on_dns_failure"]} if "on_dns_failure" in options else {}
    text = "\n".join(explain.lines(ask(world, **options), LookupSettings(**defer), colour=False)) + "\n"
    golden = GOLDEN / f"{title}.txt"
    if os.environ.get("WRITE_GOLDEN"):
        golden.write_text(text)
    assert max(map(len, text.splitlines())) <= explain.WIDTH
    assert text == golden.read_text()


def test_colour_changes_no_word() -> None:
    """Without its colour codes a coloured text is the plain one."""
    plain, coloured = ("\n".join(explain.lines(ask(World()), LookupSettings(), colour)) for colour in (False, True))
    assert coloured != plain
    assert re.sub(r"\x1b\[[0-9]+m", "", coloured) == plain


EVIL = "\x1b]0;owned\x07\x1b[2J\r\nexample.org: OK\u202e\x9b\x7f\0" + "A" * 10_000
HOSTILE = [
    ("record: field", World(txt=(b"v=STSv1; id=1; " + EVIL.encode() + b";",))),
    ("record: id", World(txt=(b"v=STSv1; id=" + EVIL.encode(),))),
    ("DNS failure", World(txt=servfail(EVIL))),
    ("certificate", World(tls=f"TLSv1.3, certificate of {EVIL}")),
    ("certificate refused", World(body=failed(Stage.TLS, Fault.CERTIFICATE_OTHER, EVIL))),
    ("header", World(body=failed(Stage.HTTP, Fault.HTTP_TYPE, EVIL))),
    ("policy: mx", World(body=POLICY + b"mx: " + EVIL.replace("\n", "").encode() + b"\n")),
    ("policy: only that mx", World(body=POLICY.replace(b"mx.example.com", EVIL.replace("\n", "").encode()))),
    ("policy: mode", World(body=POLICY.replace(b"enforce", EVIL.replace("\r\n", "").encode()))),
    ("policy: key", World(body=EVIL.encode() + b": 1\n" + POLICY)),
    ("MX failure", World(mx=servfail(EVIL))),
    ("MX host", World(mx=(Mx(10, EVIL),))),
    ("TLSA failure", World(mx=TWO_HOSTS, tlsa={f"_25._tcp.{mx.host}": servfail(EVIL) for mx in TWO_HOSTS})),
]


@pytest.mark.parametrize(("title", "world"), HOSTILE, ids=[case[0] for case in HOSTILE])
def test_hostile_text_comes_out_quoted(title: str, world: World) -> None:
    """Neither a terminal code nor a line of its own, and no more than a field's worth of it."""
    inquiry = ask(world, dane=True)
    told = list(explain.lines(inquiry, LookupSettings(), colour=False))
    for line in [*told, explain.answer_line(inquiry), json_line(query._shape(inquiry, None))]:
        assert re.fullmatch(r"[ -~]*", line)
    assert max(map(len, told)) <= explain.WIDTH
    assert len("".join(told)) < 5_000


@pytest.mark.parametrize("key", [EVIL.replace("\0", ""), "a\nb.example", "\x1b[31m.example", "x" * 10_000 + ".example"])
def test_a_hostile_key_comes_out_quoted(key: str) -> None:
    """What a script passes on as a domain may be anybody's text."""
    inquiry = ask(World(), key)
    for line in [*explain.lines(inquiry, LookupSettings(), colour=False), explain.answer_line(inquiry)]:
        assert re.fullmatch(r"[ -~]{0,1000}", line)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs `query` on a World; returns the exit code."""
    config = tmp_path / "config.yml"
    config.write_text(
        f"maps: {{first: {{}}, dane: {{dane: true}}, report: {{tlsrpt: true}}}}\ncache: {{directory: {tmp_path}}}\n"
    )

    def run(world: World, *words: str) -> int:
        monkeypatch.setattr(query, "outside", lambda settings: world.sources())
        return main(["query", "--config", str(config), *words])

    return run


INVALID = World(body=b"nothing")
CODES: list[tuple[str, World, tuple[str, ...], int, str]] = [
    ("a policy", World(), ("example.com",), 0, f"example.com: OK {SECURE}\n"),
    (
        "no policy",
        World(txt=()),
        ("example.com",),
        1,
        "example.com: NOTFOUND (_mta-sts.example.com does not exist)\n",
    ),
    (
        "a temporary failure",
        World(mx=servfail()),
        ("--map", "dane", "example.com"),
        75,
        "example.com: TEMP the MX set of example.com cannot be read: SERVFAIL\n",
    ),
    (
        "DANE",
        World(mx=TWO_HOSTS, tlsa=dict(PARTIAL)),
        ("--map", "dane", "example.com"),
        0,
        "example.com: OK dane-only\n",
    ),
    ("a port", World(), ("Example.COM.:587",), 0, f"example.com:587: OK {SECURE}\n"),
    (
        "a host in brackets",
        World(),
        ("[mx.example.com]",),
        1,
        "[mx.example.com]: NOTFOUND (a host in brackets gets no MX lookup: "
        "there is nothing for mx patterns to match)\n",
    ),
    (
        "no domain",
        World(),
        ("localhost",),
        1,
        "localhost: NOTFOUND (the name is a single label)\n",
    ),
    (
        "several domains: the highest code",
        World(),
        ("example.com", "192.0.2.1", "example.org"),
        1,
        f"example.com: OK {SECURE}\n"
        "192.0.2.1: NOTFOUND (the last label is all digits: an address, not a domain)\n"
        f"example.org: OK {SECURE}\n",
    ),
]


@pytest.mark.parametrize(("title", "world", "words", "code", "text"), CODES, ids=[case[0] for case in CODES])
def test_answer_and_exit_code(
    title: str,
    world: World,
    words: tuple[str, ...],
    code: int,
    text: str,
    command: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line a domain, and the exit code that scripts go by (SPEC of the command)."""
    assert command(world, *words) == code
    assert capsys.readouterr().out == text


def test_the_answer_on_a_tlsrpt_map_is_whole(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Just what the daemon sends, attributes and all."""
    assert command(World(), "--map", "report", "example.com") == 0
    out = capsys.readouterr().out
    assert out.startswith(f"example.com: OK {SECURE} policy_type=sts policy_domain=example.com {{ policy_string = ver")
    assert out.endswith(" mx_host_pattern=mx.example.com mx_host_pattern=*.mail.example.com\n")


def test_an_unknown_map_is_wrong_usage(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked, and the maps that there are get named."""
    assert command(World(), "--map", "no\nsuch", "example.com") == 64
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "",
        'postfix-mtasts query: --map: there is no map "no\\nsuch"; configured: first, dane, report\n',
    )


@pytest.mark.parametrize("words", [[], ["--nonsense", "example.com"]])
def test_a_wrong_command_line_exits_64(words: list[str], command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """sysexits.h, EX_USAGE; not argparse's 2."""
    with pytest.raises(SystemExit) as ended:
        command(World(), *words)
    assert ended.value.code == 64
    assert capsys.readouterr().err.startswith("usage: postfix-mtasts ")


def test_a_bad_configuration_exits_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each fault is a line, and nothing is asked."""
    config = tmp_path / "config.yml"
    config.write_text("mapps: {}\n")
    assert main(["query", "--config", str(config), "example.com"]) == 78
    assert ":1: mapps: " in capsys.readouterr().err


def test_json_of_a_policy(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The documented shape, a line for each domain."""
    assert (
        command(World(mx=TWO_HOSTS, tlsa=dict(PARTIAL)), "--json", "--map", "dane", "example.com", "example.org") == 0
    )
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert second["domain"] == "example.org"
    stages = first.pop("stages")
    assert [stage["stage"] for stage in stages] == [
        "record",
        "address",
        "tls",
        "http",
        "policy",
        "dane",
        "dane",
        "answer",
    ]
    assert {type(stage["seconds"]) for stage in stages} == {float}
    assert [stage["ok"] for stage in stages] == [True] * 8
    assert stages[1]["seen"] == "connected to 192.0.2.1"
    assert first == {
        "domain": "example.com",
        "map": "dane",
        "answer": "OK dane-only",
        "verdict": "dane-only",
        "reason": "mx.example.com: TLSA 3 1 1 at _25._tcp.mx.example.com",
        "record_id": "20260101",
        "policy": {"mode": "enforce", "max_age": 604800, "mx": ["mx.example.com", "*.mail.example.com"]},
        "result_type": None,
        "dane": {
            "status": "usable",
            "reason": "mx.example.com: TLSA 3 1 1 at _25._tcp.mx.example.com",
            "hosts": [
                {
                    "name": "mx.example.com",
                    "status": "usable",
                    "reason": "TLSA 3 1 1 at _25._tcp.mx.example.com",
                },
                {
                    "name": "b.mail.example.com",
                    "status": "unusable",
                    "reason": "no TLSA record at _25._tcp.b.mail.example.com",
                },
            ],
        },
        "daemon": None,
    }


def test_json_of_a_failure(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not there is null; the same keys always."""
    assert command(World(body=REDIRECT), "--json", "example.com") == 1
    shape = json.loads(capsys.readouterr().out)
    assert [(stage["stage"], stage["ok"]) for stage in shape.pop("stages")] == [
        ("record", True),
        ("address", True),
        ("tls", True),
        ("http", False),
        ("answer", False),
    ]
    assert shape == {
        "domain": "example.com",
        "map": "first",
        "answer": "NOTFOUND",
        "verdict": "notfound",
        "reason": f"sts-policy-fetch-error: {REDIRECT.reason}",
        "record_id": "20260101",
        "policy": None,
        "result_type": "sts-policy-fetch-error",
        "dane": None,
        "daemon": None,
    }


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_colour_and_is_told_what_is_waited_for(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress goes to standard error and is taken away again; NO_COLOR is obeyed."""
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.delenv("NO_COLOR", raising=False)
    command(World(), "--explain", "example.com")
    awaited = err.getvalue().split("\r\x1b[K")
    assert awaited[1] == "example.com: waiting for the TXT record"
    assert awaited[-1] == ""
    assert "\x1b[32mok\x1b[0m" in out.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr("sys.stdout", plain := Terminal())
    command(World(), "--explain", "example.com")
    assert "\x1b" not in plain.getvalue()


def test_json_has_the_stages_anyhow(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """--explain beside --json changes nothing."""
    assert command(World(), "--json", "--explain", "example.com") == 0
    assert json.loads(capsys.readouterr().out)["stages"]


def test_no_terminal_no_progress(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Cron mail and pipes get the answer alone."""
    command(World(), "--explain", "example.com")
    said = capsys.readouterr()
    assert said.err == ""
    assert "\x1b" not in said.out


def test_bytes_that_are_no_text_are_no_domain(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The shell passes any bytes; Python holds those that are no UTF-8 as lone surrogates."""
    assert command(World(), "\udcff.example") == 1
    assert capsys.readouterr().out == '"\\udcff.example": NOTFOUND (the name is not UTF-8)\n'


@pytest.mark.parametrize(
    ("behaviour", "on_failure", "code", "text"),
    [
        ("NOERROR", "skip", 1, "example.com: NOTFOUND (_mta-sts.example.com does not exist)\n"),
        ("SERVFAIL", "skip", 1, "example.com: NOTFOUND (no TXT answer for _mta-sts.example.com: SERVFAIL from {})\n"),
        ("SERVFAIL", "defer", 75, "example.com: TEMP no TXT answer for _mta-sts.example.com: SERVFAIL from {}\n"),
    ],
)
def test_the_settings_reach_the_sources(
    behaviour: str, on_failure: str, code: int, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through real DNS, to the resolver of the configuration."""
    behaviours = {("_mta-sts.example.com", "TXT"): behaviour} if behaviour != "NOERROR" else {}
    with DnsServer({}, behaviours) as server:
        config = tmp_path / "config.yml"
        config.write_text(f"dns: {{servers: ['{server.address}']}}\nlookup: {{on_dns_failure: {on_failure}}}\n")
        assert main(["query", "--config", str(config), "example.com"]) == code
    assert capsys.readouterr().out == text.format(server.address)


def test_a_missing_ca_file_exits_78(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is asked where no certificate could be verified."""
    config = tmp_path / "config.yml"
    config.write_text(f"fetch: {{ca_file: {tmp_path}/none.pem}}\n")
    assert main(["query", "--config", str(config), "example.com"]) == 78
    assert "fetch.ca_file: " in capsys.readouterr().err


TEXT = POLICY.decode().replace("\r\n", "\n").rstrip("\n")


def held(reply: str | None = f"OK {SECURE}", **changes: Any) -> dict[str, Any]:
    """What the daemon shows of a policy; just as it is published, unless *changes* say so."""
    shown = {"record_id": "20260101", "policy": TEXT, "replies": {"first": reply, "dane": reply}}
    return to_json(told.POLICY) | shown | changes


def without(left: float = 240.0, reply: str | None = "NOTFOUND", reason: str = "there is no record") -> dict[str, Any]:
    return to_json(replace(told.NEGATIVE, reason=reason, left=left, replies={"first": reply, "dane": reply}))


CHANGED = held("OK secure match=old.example.com servername=hostname", record_id="1", policy="mx: old.example.com")
HOLDINGS: list[tuple[str, World, list[dict[str, Any]], str, list[str], str]] = [
    (
        "just as it is published",
        World(),
        [held()],
        "answers alike; holds id 20260101, fetched 2.0h ago, expires in 6.9d",
        [],
        "",
    ),
    (
        "a policy that has changed since",
        World(),
        [CHANGED],
        "DIFFERS in answer, record id, policy; answers OK secure match=old.example.com servername=hostname; "
        "holds id 1, fetched 2.0h ago, expires in 6.9d",
        ["answer", "record id", "policy"],
        "The domain has changed it since.",
    ),
    (
        "a new id for the same policy",
        World(),
        [held(record_id="1")],
        "DIFFERS in record id; answers alike; holds id 1, fetched 2.0h ago, expires in 6.9d",
        ["record id"],
        "-> `postfix-mtasts cache refresh example.com`",
    ),
    (
        "a policy that cannot be fetched now",
        World(body=REDIRECT),
        [held()],
        f"DIFFERS in answer, policy; answers OK {SECURE}; holds id 20260101, fetched 2.0h ago, expires in 6.9d",
        ["answer", "policy"],
        "stays in force until it expires",
    ),
    (
        "a policy that has expired",
        World(),
        [held(None, left=-5.0)],
        "no answer is ready; holds id 20260101, fetched 2.0h ago, has expired",
        [],
        "",
    ),
    (
        "no policy where there is one now",
        World(),
        [without()],
        "DIFFERS in answer, policy; answers NOTFOUND; holds no policy, for 4.0m more (there is no record)",
        ["answer", "policy"],
        "The domain has a policy now.",
    ),
    (
        "no policy, and there is none",
        World(txt=()),
        [without()],
        "answers alike; holds no policy, for 4.0m more (there is no record)",
        [],
        "",
    ),
    (
        "no policy, and that is over",
        World(txt=()),
        [without(-1.0, None)],
        "no answer is ready; holds no policy, for 0s more (there is no record)",
        [],
        "",
    ),
    ("nothing", World(), [], "holds nothing, the next lookup asks", [], ""),
]


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """The daemon beside `command`: what it shows of any domain."""
    shown: list[dict[str, Any]] = []
    with FakeControl(tmp_path, lambda request: shown):
        yield shown


@pytest.mark.parametrize(
    ("title", "world", "shown", "line", "differs", "meaning"), HOLDINGS, ids=[case[0] for case in HOLDINGS]
)
def test_what_the_daemon_holds(
    title: str,
    world: World,
    shown: list[dict[str, Any]],
    line: str,
    differs: list[str],
    meaning: str,
    beside: list[dict[str, Any]],
    command: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Below the answer, in JSON and in --explain; a difference is marked, and the exit code is the fresh answer's."""
    beside += shown
    code = command(world, "example.com")
    assert capsys.readouterr().out.splitlines()[1:] == [f"  daemon: {line}"]
    assert command(world, "--json", "example.com") == code
    daemon = json.loads(capsys.readouterr().out)["daemon"]
    assert (daemon["differs"], daemon["problem"]) == (differs, None)
    assert command(world, "--explain", "example.com") == code
    explained = capsys.readouterr().out
    block = explained[explained.index("\ndaemon ") + 1 :]
    assert max(map(len, block.splitlines())) <= explain.WIDTH
    words = " ".join(block.split())
    mark = "no" if differs else "ok" if shown else "--"
    assert words.startswith(f"daemon {mark} {line.split(';')[0]}")
    assert meaning in words
    assert meaning or "->" not in words


def test_json_of_what_the_daemon_holds(
    beside: list[dict[str, Any]], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The documented shape."""
    beside.append(CHANGED)
    command(World(), "--json", "example.com")
    assert json.loads(capsys.readouterr().out)["daemon"] == {
        "answer": "OK secure match=old.example.com servername=hostname",
        "differs": ["answer", "record id", "policy"],
        "problem": None,
        "record_id": "1",
        "age": 7_200.0,
        "left": 597_600.0,
        "reason": None,
    }


def test_what_the_daemon_holds_comes_out_quoted(
    beside: list[dict[str, Any]], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reason is anybody's text, and so is a policy."""
    for shown in (held(f"OK {EVIL}", record_id=EVIL, policy=EVIL), without(reason=EVIL, reply=f"TEMP {EVIL[:99]}")):
        beside[:] = [shown]
        for words in ([], ["--json"], ["--explain"]):
            command(World(), *words, "example.com")
            assert re.fullmatch(r"[ -~\n]*", capsys.readouterr().out)


def test_the_daemon_is_asked_for_the_domain_and_port(tmp_path: Path, command: Any) -> None:
    """In A-labels, since DANE has a status for each port; a key that is no domain is not asked about."""
    with FakeControl(tmp_path, lambda request: []) as control:
        command(World(), "B\u00fccher.example.com:587", "localhost", "[mx.example.com]")
    assert control.requests == [{"do": "show", "domain": "xn--bcher-kva.example.com", "port": 587}]


def test_a_daemon_that_stands_still_costs_its_answer_only(
    tmp_path: Path, command: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One deadline for all domains; --explain and --json say so."""
    monkeypatch.setattr("postfix_mtasts.cli.comparing.PATIENCE", 0.1)
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "control"))
        deaf.listen()
        assert command(World(), "example.com") == 0
        assert capsys.readouterr().out == f"example.com: OK {SECURE}\n"
        assert command(World(), "--explain", "example.com", "example.org") == 0
        words = " ".join(capsys.readouterr().out.split())
        assert words.count("daemon -- cannot be asked: the daemon does not answer on its control socket") == 2
        asked = 0
        deaf.settimeout(0.01)
        with suppress(TimeoutError):
            while True:
                deaf.accept()[0].close()
                asked += 1
    assert asked == 2, "once by each command"


@pytest.mark.parametrize("answer", [{"error": "no such request"}, {}], ids=["refused", "an answer without a word"])
def test_another_version_of_the_daemon_does_no_harm(
    answer: dict[str, Any], tmp_path: Path, command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """During an upgrade the command may be newer than the daemon."""
    with FakeControl(tmp_path, lambda request: [answer]):
        assert command(World(), "example.com") == 0
    assert capsys.readouterr().out.startswith(f"example.com: OK {SECURE}\n")
