"""The world of `make demo-shell`: that of the demo, and the domains of README.rst."""

from __future__ import annotations

import gzip
import json
import os
import shlex
import sys
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from demo import mail, show
from demo.owner import Garden
from demo.world import Authority, PolicyHosts, Site
from tests.support.servers.daemon import Daemon
from tests.support.servers.dnsserver import DnsServer
from tests.support.servers.receivers import Receivers
from tests.support.worlds.mail import Postfix

OWN = "example.org"
GMAIL = "gmail-smtp-in.l.google.com"
HEAD, END = "version: STSv1\r\nmode: {mode}\r\n", "max_age: 1209600\r\n"
SITES = {
    **show.SITES,
    OWN: Site("enforce", 90, f"{HEAD}mx: mx.{OWN}\r\n{END}"),
    "gmail.com": Site("enforce", 90, f"{HEAD}mx: {GMAIL}\r\nmx: *.{GMAIL}\r\n{END}"),
}


WELCOME = """\
A small world of its own: DNS, policy hosts, mail servers, and postfix-mtasts at 127.0.0.1:8462.
Every command of README.rst for who sends or receives mail works here. The domains:
  {domains}
{mail}
`exit` ends all of it.
"""
WITH_POSTFIX = """\
Postfix asks the daemon: sendmail -f you@sender.test you@forged.example </dev/null
Then: postqueue -p; cat {log}"""
WITHOUT_POSTFIX = "Postfix itself does not run here, which takes {missing}."


class Stage:
    """All that the shell finds; it ends with *stack*."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        """Take an empty folder."""
        authority = Authority()
        ca_file = directory / "ca.pem"
        ca_file.write_bytes(authority.pem)
        dns = stack.enter_context(DnsServer(show.records(SITES), port=53))
        hosts = stack.enter_context(PolicyHosts(directory, authority, SITES))
        receivers = mail.publish(directory, stack, authority, dns)
        Garden(dns, hosts, receivers, authority).plant()
        _own(authority, dns, receivers)
        daemon = stack.enter_context(Daemon(directory / "daemon", _config(directory, ca_file)))
        missing = mail.missing()
        outside = _without_postfix(directory, daemon) if missing else _postfix(directory, stack, authority, daemon)
        words = (
            WITHOUT_POSTFIX.format(missing=missing) if missing else WITH_POSTFIX.format(log=outside.parent / "maillog")
        )
        self.welcome = WELCOME.format(domains=" ".join(sorted(SITES)), mail=words)
        self.home = _home(directory)
        self.environment = {
            **os.environ,
            "PATH": f"{_commands(directory, daemon)}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": str(self.home),
            "MAIL_CONFIG": str(outside),
            "PS1": "demo$ ",
        }


def _config(directory: Path, ca_file: Path) -> dict[str, Any]:
    return {
        "listen": ["inet:127.0.0.1:8462"],
        "dns": {"servers": ["127.0.0.1"]},
        "fetch": {"ca_file": str(ca_file), "allow_private_addresses": True},
        "metrics": {"listen": "inet:127.0.0.1:9462"},
        "reports": {"directory": str(directory / "reports")},
    }


def _commands(directory: Path, daemon: Daemon) -> Path:
    """Make a folder with `postfix-mtasts`, which reads the demo's configuration unless it is told another."""
    folder = directory / "bin"
    folder.mkdir()
    program, config = shlex.join([sys.executable, "-m", "postfix_mtasts"]), shlex.quote(str(daemon.config_file))
    command = folder / "postfix-mtasts"
    command.write_text(
        f'#!/bin/sh\ncase " $* " in *" --config"*) exec {program} "$@";; esac\nexec {program} "$@" --config {config}\n'
    )
    command.chmod(0o755)
    return folder


def _postfix(directory: Path, stack: ExitStack, authority: Authority, daemon: Daemon) -> Path:
    """Run a Postfix that asks the daemon: its configuration."""
    mail.resolve_here(directory)
    directory.chmod(0o755)  # Postfix's programs are not root
    postfix = Postfix(directory / "postfix", main={"smtp_tls_policy_maps": daemon.table()}, ca=authority.pem)
    return stack.enter_context(postfix).directory / "conf"


def _without_postfix(directory: Path, daemon: Daemon) -> Path:
    """Write what postmap(1) and `config check` read."""
    conf = directory / "postfix"
    conf.mkdir()
    (conf / "main.cf").write_text(
        "compatibility_level = 3.6\ninet_protocols = ipv4\nsmtp_tls_security_level = may\n"
        f"smtp_tls_CAfile = {directory}/ca.pem\nsmtp_tls_policy_maps = {daemon.table()}\n"
    )
    (conf / "master.cf").write_text("smtp unix - - n - - smtp\n")
    return conf


def _own(authority: Authority, dns: DnsServer, receivers: Receivers) -> None:
    """The reader's own domain, which has all that there is to have."""
    host = f"mx.{OWN}"
    dns.records[OWN, "MX"] = [f"10 {host}."]
    dns.records[host, "A"] = [receivers.host(authority.issue(host, 90))]
    dns.records[f"_smtp._tls.{OWN}", "TXT"] = [f'"v=TLSRPTv1; rua=mailto:tlsrpt@{OWN}"']


def _home(directory: Path) -> Path:
    """Make the shell's home, with yesterday's TLS report in its Maildir."""
    home = directory / "home"
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True)
    (home / "Maildir/new/1.demo").write_bytes(bytes(_report(datetime.now(UTC) - timedelta(days=1))))
    return home


def _report(day: datetime) -> EmailMessage:
    """One that a large sender might have written: most sessions were fine, a few met an expired certificate."""
    date, identifier = f"{day:%Y-%m-%d}", f"{day:%Y-%m-%d}_{OWN}"
    report = {
        "organization-name": "Bank",
        "date-range": {"start-datetime": f"{date}T00:00:00Z", "end-datetime": f"{date}T23:59:59Z"},
        "contact-info": "tls@bank.example",
        "report-id": identifier,
        "policies": [
            {
                "policy": {"policy-type": "sts", "policy-domain": OWN, "mx-host": [f"mx.{OWN}"]},
                "summary": {"total-successful-session-count": 1204, "total-failure-session-count": 3},
                "failure-details": [
                    {
                        "result-type": "certificate-expired",
                        "receiving-mx-hostname": f"mx.{OWN}",
                        "failed-session-count": 3,
                    }
                ],
            }
        ],
    }
    message = EmailMessage()
    message["From"], message["To"] = "tls@bank.example", f"tlsrpt@{OWN}"
    message["Subject"] = f"Report Domain: {OWN} Submitter: bank.example Report-ID: <{identifier}>"
    message["TLS-Report-Domain"], message["TLS-Report-Submitter"] = OWN, "bank.example"
    message.set_content("A report on TLS.")
    message.add_attachment(
        gzip.compress(json.dumps(report).encode()),
        maintype="application",
        subtype="tlsrpt+gzip",
        filename=f"bank.example!{OWN}!{day:%s}!{day:%s}.json.gz",
    )
    return message
