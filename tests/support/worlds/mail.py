"""A Postfix of the test's own that sends mail, and what its log says of each message.

Everything it writes is below one directory; /etc/postfix is neither read nor
changed. It runs on this machine or, with *root*, in a chroot that holds
another Debian.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import smtplib
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.waiting import wait_until

_ports = itertools.count(10025)  # where smtplib hands mail in

_DELIVERY = re.compile(
    r" (?P<queue_id>[0-9A-F]+): to=<(?P<recipient>[^>]*)>,.* relay=(?P<relay>[^,]*),.* dsn=(?P<dsn>[0-9.]+), "
    r"status=(?P<status>\w+) \((?P<text>.*)\)$"
)
_TLS = re.compile(r"(?P<level>\w+) TLS connection established to (?P<host>[^\[]*)\[(?P<address>[0-9.]+)\]")

_SERVICES = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/spool
data_directory = {directory}/data
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
myhostname = sender.test
inet_interfaces = loopback-only
inet_protocols = ipv4
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
transport_maps = texthash:{directory}/conf/transport
smtp_tls_security_level = may
smtp_tls_CAfile = {directory}/ca.pem
tls_append_default_CA = no
smtp_tls_loglevel = 1
smtp_tls_session_cache_database =
smtp_connection_cache_on_demand = no
in_flow_delay = 0
minimal_backoff_time = 1h
maximal_backoff_time = 1h
queue_run_delay = 1h
default_destination_concurrency_failed_cohort_limit = 0
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What Postfix logged about one try to deliver one message."""

    queue_id: str
    recipient: str
    relay: str  # "none" or "host[address]:port"
    dsn: str
    status: str  # sent, deferred, bounced
    text: str  # the server's last words, or the reason

    @property
    def host(self) -> str:
        """Where the mail went, or was last tried."""
        return self.relay.partition("[")[0]


class Postfix:
    """`with Postfix(directory, ca=...) as postfix:` runs it; mail is sent by `send`.

    Args:
        directory: seen from outside of *root*, and below it.
        main: lines that main.cf has besides ours, or in place of them.
        services: lines of master.cf besides ours: `NAME unix - - n - - smtp -o ...`.
        transport: lines of the transport table.
        ca: certificates (PEM) that it trusts.
        root: the chroot that holds the Postfix to run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        main: Mapping[str, str],
        ca: bytes,
        services: Iterable[str] = (),
        transport: Iterable[str] = (),
        root: Path = Path("/"),
    ) -> None:
        self.directory, self.root = directory, root
        self.inside = Path("/") / directory.relative_to(root)
        self.port = next(_ports)
        self._prefix = [] if root == Path("/") else ["chroot", str(root)]
        for name in ("conf", "spool", "data"):
            (directory / name).mkdir(parents=True)
        (directory / "ca.pem").write_bytes(ca)
        self._write("dynamicmaps.cf", "")
        self._write("transport", "\n".join(transport) + "\n")
        self._write("master.cf", _SERVICES.format(port=self.port) + "".join(line + "\n" for line in services))
        lines = [f"{name} = {value}\n" for name, value in main.items()]
        self._write("main.cf", _MAIN.format(directory=self.inside) + "".join(lines))
        os.chmod(directory, 0o755)
        subprocess.run([*self._prefix, "chown", "postfix", str(self.inside / "data")], check=True)

    def __enter__(self) -> Self:
        self.run("postfix", "start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: TracebackType | None
    ) -> None:
        self.run("postfix", "stop")

    def run(self, command: str, *arguments: str) -> str:
        """Run one of Postfix's commands on this instance: what it wrote on standard output."""
        done = subprocess.run(
            [*self._prefix, f"/usr/sbin/{command}", "-c", str(self.inside / "conf"), *arguments],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{command} {arguments}: {done.stdout} {done.stderr} {self.tail()}"
        return done.stdout

    def add(self, name: str, text: str) -> None:
        """Write a file below the instance's directory."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def send(self, *recipients: str, sender: str = "sender@sender.test") -> list[str]:
        """Hand in one message for each recipient: their queue ids."""
        ids = []
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.ehlo()
            for recipient in recipients:
                options = () if recipient.isascii() else ("SMTPUTF8",)
                client.mail(sender, options)
                client.rcpt(recipient)
                code, text = client.data(f"Subject: test\r\nTo: {recipient}\r\n\r\nhello\r\n".encode())
                assert code == 250, (code, text)
                ids.append(text.decode().rpartition("queued as ")[2].strip())
        return ids

    def log(self) -> list[str]:
        """The lines of its log so far."""
        try:
            return (self.directory / "maillog").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []

    def tail(self) -> str:
        return "\n" + "\n".join(self.log()[-30:])

    def attempts(self, queue_id: str) -> list[Attempt]:
        """The tries to deliver this message so far."""
        lines = [line for line in self.log() if f" {queue_id}: to=<" in line]
        return [Attempt(**match.groupdict()) for line in lines if (match := _DELIVERY.search(line))]

    def outcome(self, queue_id: str, tries: int = 1) -> Attempt:
        """The outcome of try number *tries* of this message, waited for."""
        wait_until(lambda: len(self.attempts(queue_id)) >= tries, f"{queue_id} is tried {tries} times: {self.tail()}")
        return self.attempts(queue_id)[tries - 1]

    def tls(self, address: str) -> set[str]:
        """How TLS sessions with this address were judged: Anonymous, Untrusted, Trusted, Verified."""
        return {match["level"] for line in self.log() if (match := _TLS.search(line)) and match["address"] == address}

    def queue(self) -> dict[str, dict[str, Any]]:
        """What postqueue -j says of the messages that are not delivered, by queue id."""
        entries = (json.loads(line) for line in self.run("postqueue", "-j").splitlines())
        return {entry["queue_id"]: entry for entry in entries}

    def reasons(self, queue_id: str) -> list[str]:
        """Why this message is in the queue, as an operator reads it; none when it is not."""
        entry = self.queue().get(queue_id, {"recipients": []})
        return [recipient.get("delay_reason", "") for recipient in entry["recipients"]]

    def flush(self) -> None:
        """Try all deferred messages again."""
        self.run("postqueue", "-f")

    def deliver_all(self, seconds: float = 60) -> None:
        """Flush until the queue is empty."""

        def empty() -> bool:
            queue = self.queue()
            if queue and all(entry["queue_name"] == "deferred" for entry in queue.values()):
                self.flush()
            return not queue

        wait_until(empty, f"the queue is empty: {self.tail()}", seconds)

    def faults(self) -> list[str]:
        """Lines that say that a program of Postfix crashed or gave up."""
        return [line for line in self.log() if re.search(r"(panic|fatal|killed by signal|exit status)\b", line)]

    def _write(self, name: str, text: str) -> None:
        path = self.directory / "conf" / name
        path.write_text(text)
        old = path.stat().st_mtime - 60
        os.utime(path, (old, old))  # Postfix waits until a file is older than a second
