"""The whole circle: a failed delivery under our policy becomes a report, and the report is explained to the owner.

Our daemon gives Postfix 3.10 a policy, libtlsrpt tells tlsrpt-reporter of the
failed delivery, its report is signed and mailed through another Postfix, whose
pipe(8) runs `report receive`, and `report show` explains it.
"""

from __future__ import annotations

import base64
import json
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.servers.collector import Collector, Reportd
from tests.support.servers.daemon import Daemon
from tests.support.servers.internet import Internet
from tests.support.waiting import wait_until
from tests.support.worlds import anyones_python
from tests.support.worlds.mail import Postfix
from tests.support.worlds.mailworld import World
from tests.support.worlds.scenarios import NEW, OLD, Host, Scenario, Want

pytestmark = pytest.mark.timeout(600)  # the first of them may make a Debian 13

OWNER, PORT = "127.200.0.1", 2626  # the mail server that takes in the reports; ports 25 and 2525 are the receivers'
SIGNER = Path(__file__).parents[2] / "support" / "servers" / "dkim_sendmail.py"
USER = "nobody"  # that pipe(8) runs the command as: not root, and not Postfix's own


def published(key: rsa.RSAPrivateKey) -> str:
    """A key record for TLS reports alone, in strings that fit."""
    der = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = "v=DKIM1; k=rsa; s=tlsrpt; p=" + base64.b64encode(der).decode()
    return " ".join(f'"{text[start : start + 200]}"' for start in range(0, len(text), 200))


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users may enter."""
    with tempfile.TemporaryDirectory(prefix="mtasts-owner-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_from_our_policy_to_our_table(
    internet: Internet, world: World, make_postfix: Callable[..., Postfix], place: Path, tmp_path: Path
) -> None:
    """An expired certificate at the MX host, told to its owner with what to do."""
    broken = Scenario("", Want(), label="circle", hosts=(Host(certificate="expired"),))
    domain = broken.domain(NEW)
    key = rsa.generate_private_key(65537, 2048)
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(*pem))
    world.add(broken, NEW)
    for line in (
        f'_smtp._tls.{domain}. 60 IN TXT "v=TLSRPTv1; rua=mailto:tlsrpt@owner.test"',
        f"tlsrpt._domainkey.sender.test. 60 IN TXT {published(key)}",
        f"mx.owner.test. 60 IN A {OWNER}",
    ):
        world.add_record(line)
    world.publish()

    receive = place / "receive"
    receiver = make_postfix(
        OLD,
        "owner",
        {"relay_domains": "owner.test"},
        services=[
            f"{OWNER}:{PORT} inet n - n - - smtpd",
            f"tlsrpt unix - n n - 4 pipe flags=F user={USER} argv={receive}",
        ],
        transport=["owner.test tlsrpt:"],
    )
    store = place / "store"
    store.mkdir(mode=0o700)
    user = pwd.getpwnam(USER)
    os.chown(store, user.pw_uid, user.pw_gid)
    config = place / "config.yml"
    settings = {"reports": {"directory": str(store), "require_dkim": True}, "dns": internet.config()["dns"]}
    config.write_text(yaml.safe_dump(settings))

    with anyones_python.program(place) as program:

        def report(*words: str) -> Any:
            done = subprocess.run(
                [str(program), "report", *words, "--json", "--config", str(config)],
                capture_output=True,
                text=True,
                check=False,
            )
            return [json.loads(line) for line in done.stdout.splitlines()]

        receive.write_text(f"#!/bin/sh\nexec {program} report receive --config {config}\n")
        receive.chmod(0o755)
        with Daemon(tmp_path / "daemon", internet.config()) as daemon:
            main = {
                "smtp_tls_policy_maps": daemon.table(NEW.map),
                "smtp_tlsrpt_enable": "yes",
                "smtp_tlsrpt_socket_name": "collector/socket",
            }
            sender = make_postfix(NEW, "circle", main, transport=[f"owner.test smtp:[mx.owner.test]:{PORT}"])
            with Collector(sender.directory / "spool" / "collector") as collector:
                collector.socket.chmod(0o666)
                (mail,) = sender.send(f"user@{domain}")
                outcome = sender.outcome(mail)
                assert (outcome.status, outcome.dsn) == ("deferred", "4.7.5"), outcome
                wait_until(lambda: bool(collector.failures()), "the failure is collected")
                collector.end_day()
                sendmail = f"{sys.executable} {SIGNER} {sender.port} {tmp_path}/key.pem sender.test tlsrpt@owner.test"
                with Reportd(tmp_path / "reportd", collector, sendmail):
                    wait_until(lambda: bool(report("list")), f"the report is stored: {receiver.tail()}", 60)

        (listed,) = report("list")
        assert (listed["organization"], listed["domains"], listed["failed"]) == ("Example", [domain], 1)
        assert (listed["dkim"], listed["dkim_domain"]) == ("pass", "sender.test")
        assert listed["odd"] == []
        (told,) = report("show")
        (result,) = told["results"]
        assert (result["result"], result["sessions"], result["sources"]) == ("certificate-expired", 1, ["Example"])
        assert result["mx"] == [f"mx.{domain}"]
        assert "expired" in result["meaning"]
        assert "Renew" in result["advice"]
        (by_policy,) = report("show", "--by", "policy")[0]["rows"]
        assert by_policy["type"] == "sts"
        assert by_policy["policy"].startswith("version: STSv1; mode: enforce; ")
        assert f"mx: mx.{domain}" in by_policy["policy"]
        assert report("list", "--unreadable") == []
        assert {path.stat().st_uid for path in store.rglob("*")} == {user.pw_uid}
