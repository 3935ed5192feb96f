"""Debian's servers on loopback: nsd, knot, unbound and nginx, and the postmap command.

Each keeps all it writes in a directory of its own, runs in the foreground, is
ready when its class has been entered, and is ended by its process id.

| server  | address                        | answers for                               |
| ------- | ------------------------------ | ----------------------------------------- |
| nsd     | 127.0.0.2:53                   | the root zone: unknown names are NXDOMAIN |
| knot    | 127.0.0.3:53                   | zones that it signs itself                |
| unbound | 127.0.0.4:53                   | all of it, validating                     |
| nginx   | 127.0.0.1:443                  | policy hosts, a certificate each          |

What nginx cannot do (drip, lie about a length, speak TLS 1.1) is not here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import dns.message
import dns.query
import dns.rdatatype
import dns.rrset

from tests.support.waiting import accepts, wait_until

NSD, KNOT, UNBOUND, NGINX = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.1"

SOA = "{zone}. 60 IN SOA ns.invalid. admin.invalid. {serial} 3600 600 86400 60"


def zone_head(zone: str, serial: int = 1) -> list[str]:
    """The records without which knot serves no zone."""
    return [SOA.format(zone=zone, serial=serial), f"{zone}. 60 IN NS ns.{zone}.", f"ns.{zone}. 60 IN A {KNOT}"]


class Program:
    """A server program: started by `with`, its output in `<directory>/output`, ended by its process id."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.directory = directory

    def command(self) -> Sequence[str]:
        """Write the configuration and say how to start the program in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        command = self.command()
        program = shutil.which(command[0], path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert program, f"{command[0]} is not installed; as root: make test"
        with (self.directory / "output").open("wb") as output:
            self._process = subprocess.Popen([program, *command[1:]], stdout=output, stderr=output)
        try:
            wait_until(lambda: self._living() and self.is_ready(), f"{program} answers")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def _living(self) -> bool:
        assert self._process.poll() is None, (self.directory / "output").read_text(errors="replace")
        return True

    def _write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(textwrap.dedent(text))
        return path


def ask(address: str, name: str, rdtype: str, *, dnssec: bool = False) -> dns.message.Message:
    """One DNS query over TCP, as it is answered at *address*."""
    return dns.query.tcp(dns.message.make_query(name, rdtype, want_dnssec=dnssec), address, timeout=5)


def _serial(address: str, zone: str) -> int:
    try:
        answer = ask(address, zone, "SOA").answer
    except (OSError, EOFError, dns.exception.DNSException):
        return -1
    return int(answer[0][0].serial) if answer else -1


class Nsd(Program):
    """Authoritative for the root zone, whose records a test replaces as it likes."""

    address = NSD

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._serial = 1

    def command(self) -> Sequence[str]:
        self._write_zone("")
        config = self._write(
            "nsd.conf",
            f"""\
            server:
              ip-address: {self.address}@53
              do-ip6: no
              username: ""
              chroot: ""
              server-count: 1
              rrl-ratelimit: 0
              zonesdir: "{self.directory}"
              database: ""
              pidfile: "{self.directory}/pid"
              xfrdfile: "{self.directory}/xfrd.state"
              zonelistfile: "{self.directory}/zone.list"
            remote-control:
              control-enable: no
            zone:
              name: "."
              zonefile: "root.zone"
            """,
        )
        return ["nsd", "-d", "-c", str(config)]

    def is_ready(self) -> bool:
        return _serial(self.address, ".") == self._serial

    def load(self, records: Iterable[str]) -> None:
        """Serve *records* (lines of a zone file, names absolute) and nothing else, from this call's return on."""
        self._serial += 1
        text = "\n".join(records)
        for _ in range(10):
            if self._process.poll() is not None:  # nsd 4.6 ends in a reload, now and then, on a busy machine
                self.__enter__()
            self._write_zone(text)
            self.signal(signal.SIGHUP)  # one that comes during the reload before is lost
            with suppress(AssertionError):
                wait_until(self.is_ready, "nsd serves the new zone", 3)
                return
        assert self.is_ready(), "nsd does not serve the new zone"

    def _write_zone(self, records: str) -> None:
        text = SOA.format(zone="", serial=self._serial) + "\n. 60 IN NS ns.invalid.\n"
        (self.directory / "new.zone").write_text(text + records + "\n")
        (self.directory / "new.zone").rename(self.directory / "root.zone")


class Knot(Program):
    """Authoritative for *zones* (zone name to its records), which it signs with keys of its own.

    *ready* are zones that it serves as they are, from the SOA record on: see tests/support/signing.py.
    """

    address = KNOT

    def __init__(
        self, directory: Path, zones: Mapping[str, Sequence[str]], ready: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        super().__init__(directory)
        self.zones, self.ready = zones, ready or {}

    def command(self) -> Sequence[str]:
        config = f"""\
            server:
              rundir: {self.directory}
              listen: {self.address}@53
            log:
              - target: stderr
                any: info
            database:
              storage: {self.directory}
            template:
              - id: default
                storage: {self.directory}
                file: "%s.zone"
                dnssec-signing: on
                zonefile-sync: -1
            zone:
            """
        for zone, records in self.zones.items():
            self._write_zone(zone, records, 1)
            config += f"  - domain: {zone}\n            "
        for zone, lines in self.ready.items():
            self._write(f"{zone}.zone", "\n".join(lines) + "\n")
            config += f"  - domain: {zone}\n                dnssec-signing: off\n            "
        return ["knotd", "-c", str(self._write("knot.conf", config))]

    def is_ready(self) -> bool:
        if any(_serial(self.address, zone) <= 0 for zone in self.ready):
            return False
        return all(_serial(self.address, zone) > 0 and self._keys(zone) for zone in self.zones)

    def load(self, zone: str, records: Sequence[str]) -> None:
        """Sign *records* and serve them as *zone*, from this call's return on."""
        before = _serial(self.address, zone)
        self._write_zone(zone, records, before + 10)
        self.signal(signal.SIGHUP)
        wait_until(lambda: _serial(self.address, zone) > before, "knot serves the new zone")

    def _write_zone(self, zone: str, records: Sequence[str], serial: int) -> None:
        self._write(f"{zone}.zone", "\n".join([*zone_head(zone, serial), *records]) + "\n")

    def trust_anchor(self, zone: str) -> str:
        """The zone's key signing key, as a line that a resolver trusts."""
        return f"{zone}. 60 IN DNSKEY {next(key for key in self._keys(zone) if key.flags & 1)}"

    def _keys(self, zone: str) -> dns.rrset.RRset | tuple[()]:
        try:
            answer = ask(self.address, zone, "DNSKEY").answer
        except (OSError, EOFError, dns.exception.DNSException):
            return ()
        return answer[0] if answer else ()


class Unbound(Program):
    """A validating resolver in front of nsd (the root, unsigned) and knot's zones.

    *anchors* are DNSKEY lines; a wrong one makes a zone bogus. Without *caching*
    what a test publishes counts at once, and all TTLs are 0.
    """

    address, knot = UNBOUND, KNOT

    def __init__(self, directory: Path, zones: Iterable[str], anchors: Iterable[str], *, caching: bool = True) -> None:
        super().__init__(directory)
        self._zones, self._anchors, self._caching = zones, anchors, caching

    def command(self) -> Sequence[str]:
        anchors = self._write("anchors", "\n".join(self._anchors) + "\n")
        config = f"""\
            server:
              interface: {self.address}@53
              access-control: 127.0.0.0/8 allow
              directory: "{self.directory}"
              pidfile: "{self.directory}/pid"
              username: ""
              chroot: ""
              use-syslog: no
              do-ip6: no
              do-not-query-localhost: no
              module-config: "validator iterator"
              trust-anchor-file: "{anchors}"
              val-log-level: 2
              ede: yes
              cache-max-ttl: {86400 if self._caching else 0}
              cache-max-negative-ttl: {3600 if self._caching else 0}
              aggressive-nsec: {"yes" if self._caching else "no"}
              local-zone: "test." nodefault
            remote-control:
              control-enable: no
            stub-zone:
              name: "."
              stub-addr: {NSD}
            """
        for zone in self._zones:
            config += f'stub-zone:\n              name: "{zone}"\n              stub-addr: {self.knot}\n            '
        return ["unbound", "-d", "-c", str(self._write("unbound.conf", config))]

    def is_ready(self) -> bool:
        return accepts(self.address, 53)


class Nginx(Program):
    """Policy hosts, told apart by the name that TLS asks for."""

    address = NGINX

    def command(self) -> Sequence[str]:
        (self.directory / "certificates").mkdir()
        config = self._write(
            "nginx.conf",
            f"""\
            daemon off;
            user root;
            worker_processes 1;
            worker_rlimit_nofile 8192;
            pid {self.directory}/pid;
            error_log {self.directory}/error.log;
            events {{ worker_connections 4096; }}
            http {{
              log_format hits '$ssl_server_name $request_method $status $request_uri';
              access_log {self.directory}/access.log hits;
              client_body_temp_path {self.directory}/body;
              proxy_temp_path {self.directory}/proxy;
              fastcgi_temp_path {self.directory}/fastcgi;
              uwsgi_temp_path {self.directory}/uwsgi;
              scgi_temp_path {self.directory}/scgi;
              types {{ }}
              default_type text/plain;
              server {{
                listen {self.address}:443 ssl backlog=4096;
                ssl_certificate {self.directory}/certificates/$ssl_server_name.pem;
                ssl_certificate_key {self.directory}/certificates/$ssl_server_name.pem;
                root {self.directory}/hosts/$ssl_server_name;
              }}
            }}
            """,
        )
        return ["nginx", "-e", str(self.directory / "error.log"), "-p", str(self.directory), "-c", str(config)]

    def is_ready(self) -> bool:
        return accepts(self.address, 443)

    def serve(self, host: str, policy: bytes | None, certificate: bytes) -> None:
        """Serve *policy* (None: 404) at *host*, from now on; *certificate* is PEM: key, certificate, chain."""
        path = self.directory / "hosts" / host / ".well-known" / "mta-sts.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if policy is not None:
            path.write_bytes(policy)
        (self.directory / "certificates" / f"{host}.pem").write_bytes(certificate)

    def requests(self, host: str) -> list[str]:
        """The requests for *host* so far, as `GET 200 /path`; nginx writes one down when it has answered it."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.startswith(host + " ")]

    def requests_below(self, zone: str) -> int:
        """How many requests there were so far for all hosts whose names end with *zone*."""
        lines = (self.directory / "access.log").read_text().splitlines()
        return sum(line.partition(" ")[0].endswith(zone) for line in lines)


def postmap(directory: Path, table: str, *keys: str | bytes, asking: str = "-q") -> tuple[int, str, str]:
    """Ask *table* as Postfix does: exit code (0 found, 1 not found or failed), standard output, standard error.

    Several keys go over one connection, one after the other, as `postmap -q -` does.
    """
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "main.cf").write_text("compatibility_level = 3.6\ninet_protocols = ipv4\n")
    old = (directory / "main.cf").stat().st_mtime - 60
    os.utime(directory / "main.cf", (old, old))  # Postfix waits until a file is older than a second
    lines = [key if isinstance(key, bytes) else key.encode() for key in keys]
    one = len(lines) == 1
    done = subprocess.run(
        ["/usr/sbin/postmap", "-c", str(directory), asking, lines[0] if one else "-", table],
        input=None if one else b"\n".join(lines) + b"\n",
        capture_output=True,
        timeout=100,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()
