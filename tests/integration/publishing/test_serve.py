"""`serve` as a process: from a folder to senders, through changes, faults, signals and kill -9."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from postfix_mtasts.core.publication import WITHDRAWN, policy_id
from tests.support.servers.daemon import ENVIRONMENT
from tests.support.servers.internet import Internet, policy
from tests.support.servers.primaries import PRIMARY, KnotPrimary
from tests.support.servers.serve import Serve, fetch
from tests.support.waiting import wait_until

ADDRESS = ("127.0.0.9", 443)
ADMIN = ("127.0.0.1", 8463)
DOMAIN = "owner.serve.test"
HOST = f"mta-sts.{DOMAIN}"
FIRST, SECOND = policy("mx1.example.net", mode="testing"), policy("mx2.example.net")


class Owner:
    """A certificate folder as certbot lays it out, and a `serve` that reads it."""

    def __init__(self, directory: Path, **publish: object) -> None:
        self.live = directory / "live"
        self.ca = trustme.CA()
        self.certify(HOST)
        settings = {
            "listen": [f"inet:{ADDRESS[0]}:{ADDRESS[1]}"],
            "certificates": "files",
            "certificate_directory": str(self.live),
            **publish,
        }
        dns = {"servers": ["127.0.0.1:53"], "timeout": "1s"}
        self.serve = Serve(directory / "serve", settings, dns=dns, admin={"listen": f"inet:{ADMIN[0]}:{ADMIN[1]}"})

    def certify(self, name: str) -> None:
        folder = self.live / name
        folder.mkdir(parents=True, exist_ok=True)
        issued = self.ca.issue_cert(name)
        issued.private_key_pem.write_to_path(str(folder / "privkey.pem"))
        (folder / "fullchain.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))

    def get(self, name: str = HOST) -> tuple[int, bytes]:
        return fetch(name, self.ca.cert_pem.bytes(), ADDRESS)[:2]

    def serves(self, text: bytes) -> None:
        """Wait until *text* is served."""
        wait_until(lambda: self.get() == (200, text), "the policy is served")

    def admin(self, path: str) -> tuple[int, str]:
        status, body, _ = fetch("localhost", None, ADMIN, path=path)
        return status, body.decode()


@pytest.fixture
def owner(internet: Internet, tmp_path: Path) -> Owner:
    return Owner(tmp_path)


@pytest.fixture
def running(owner: Owner) -> Iterator[Owner]:
    owner.serve.publish(DOMAIN, FIRST)
    with owner.serve:
        owner.serve.wait_for("certificate-read")
        owner.serves(FIRST)
        yield owner


def test_a_file_becomes_a_policy_and_its_change_too(running: Owner) -> None:
    """Byte for byte; what is not a policy changes nothing and is told of everywhere."""
    running.serve.publish(DOMAIN, SECOND)
    running.serves(SECOND)
    running.serve.publish(DOMAIN, b"version: STSv1\nmode: enforced\n")
    assert running.serve.wait_for("policy-file-refused", name=DOMAIN)
    assert running.get() == (200, SECOND)
    status, text = running.admin("/healthz")
    assert (status, "enforced" in text) == (503, True)
    assert "mtasts_serve_faults 1.0" in running.admin("/metrics")[1]
    running.serve.publish(DOMAIN, FIRST)
    running.serves(FIRST)
    assert running.admin("/healthz") == (200, "ok\n")


def test_a_domain_withdrawn_serves_mode_none(running: Owner) -> None:
    """By deleting its file; over kill -9 as well."""
    (running.serve.policies / f"{DOMAIN}.txt").unlink()
    running.serves(WITHDRAWN)
    running.serve.kill()
    with running.serve:
        running.serves(WITHDRAWN)


def test_a_restart_serves_from_the_first_moment(running: Owner) -> None:
    """What was served before, while the file is invalid now."""
    running.serve.publish(DOMAIN, b"broken")
    running.serve.wait_for("policy-file-refused")
    running.serve.kill()
    with running.serve:
        wait_until(lambda: _serves(running, FIRST), "the last valid policy is served")


def _serves(owner: Owner, text: bytes) -> bool:
    try:
        return owner.get() == (200, text)
    except OSError:  # its certificate file is being read
        return False


def test_a_renewed_certificate_is_used_without_a_restart(running: Owner) -> None:
    """Half a renewal is left alone."""
    before = running.ca
    running.ca = trustme.CA()
    issued = running.ca.issue_cert(HOST)
    (running.live / HOST / "fullchain.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    assert running.serve.wait_for("certificate-unreadable", name=HOST)
    assert fetch(HOST, before.cert_pem.bytes(), ADDRESS)[:2] == (200, FIRST)
    issued.private_key_pem.write_to_path(str(running.live / HOST / "privkey.pem"))
    running.serve.hang_up()
    wait_until(lambda: _serves(running, FIRST), "the new certificate is used")


def test_nobody_sees_half_a_policy_during_changes_and_reloads(running: Owner) -> None:
    """Each answer is one of the policies, whole."""
    texts = [policy(f"mx{number}.example.net") for number in range(6)]
    seen: set[bytes] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            status, body = running.get()
            seen.add(body if status == 200 else b"status")

    asking = threading.Thread(target=ask)
    asking.start()
    for text in texts:
        running.serve.publish(DOMAIN, text)
        running.serve.hang_up()
        running.serves(text)
    stop.set()
    asking.join()
    assert seen <= {FIRST, *texts}


def test_sigterm_ends_it_with_idle_and_half_open_connections(running: Owner) -> None:
    """In time, with exit code 0."""
    strangers = [socket.create_connection(ADDRESS) for _ in range(20)]
    running.serve.stop()
    for stranger in strangers:
        stranger.close()


def test_two_cannot_share_one_state(running: Owner) -> None:
    """The second says who is there."""
    done = subprocess.run(running.serve.command(), env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "another postfix-mtasts serve uses it" in done.stderr) == (69, True)


def test_sockets_passed_by_systemd_are_used(owner: Owner) -> None:
    """By their port; they stay open over a restart, so that nobody is refused."""
    owner.serve.publish(DOMAIN, FIRST)
    listening = socket.create_server(ADDRESS)
    os.set_inheritable(listening.fileno(), True)
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execvp(sys.argv[2], sys.argv[2:])"
    )
    command = [sys.executable, "-c", code, str(listening.fileno()), *owner.serve.command()]
    process = subprocess.Popen(command, env=ENVIRONMENT, pass_fds=[listening.fileno()], stderr=subprocess.PIPE)
    try:
        wait_until(lambda: _serves(owner, FIRST), "the passed socket is served")
        process.terminate()
        assert process.wait(30) == 0
        waiting = socket.create_connection(ADDRESS)  # the backlog takes it
        waiting.close()
    finally:
        process.kill()
        assert process.stderr is not None
        process.stderr.close()
        process.wait()
        listening.close()


BAD = [
    ({"certificates": "acme"}, "publish.acme.agree_to_terms", 78),
    ({"certificates": "files", "certificate_directory": None}, "publish.certificate_directory", 78),
    ({"dns_update": {"server": "inet:127.0.0.5:53"}}, "publish.dns_update.key_file", 78),
    ({"listen": ["inet:192.0.2.1:443"]}, "inet:192.0.2.1:443", 69),
    ({"listen": []}, "publish.listen is empty", 69),
    ({"state_directory": "/proc/nowhere"}, "publish.state_directory", 69),
    ({"listen": ["inet:127.0.0.1:8463"]}, "inet:127.0.0.1:8463", 69),
]


@pytest.mark.parametrize(("publish", "said", "code"), BAD, ids=[row[1] + str(row[2]) for row in BAD])
def test_a_start_that_cannot_be_says_why(publish: dict[str, object], said: str, code: int, tmp_path: Path) -> None:
    """One line, no traceback."""
    owner = Owner(tmp_path, **publish)
    done = subprocess.run(owner.serve.command(), env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_record_follows_the_policy(internet: Internet, tmp_path: Path) -> None:
    """By dynamic update, after the text is served; and it goes when the policy is gone everywhere."""
    with KnotPrimary(tmp_path / "knot", "serve.test") as primary:
        update = {"server": f"inet:{PRIMARY}:53", "key_file": str(primary.key_file), "ttl": "60s"}
        owner = Owner(tmp_path, dns_update=update, rua=["mailto:tls!reports@example.org"])
        owner.serve.publish(DOMAIN, FIRST)
        with owner.serve:
            assert owner.serve.wait_for("record-updated", id=policy_id(FIRST))
            assert primary.texts(f"_mta-sts.{DOMAIN}") == [f'"v=STSv1; id={policy_id(FIRST)};"']
            assert primary.texts(f"_smtp._tls.{DOMAIN}") == ['"v=TLSRPTv1; rua=mailto:tls%21reports@example.org"']
            owner.serve.publish(DOMAIN, SECOND)
            assert owner.serve.wait_for("record-updated", id=policy_id(SECOND))
            assert owner.get() == (200, SECOND)
            (owner.serve.policies / f"{DOMAIN}.txt").unlink()
            assert owner.serve.wait_for("record-updated", id=policy_id(WITHDRAWN))
            assert owner.get() == (200, WITHDRAWN)


def test_the_dashboard_shows_every_domain(running: Owner) -> None:
    """With a policy against anything from elsewhere, and without script."""
    status, html = running.admin("/")
    assert status == 200
    assert DOMAIN in html
    assert policy_id(FIRST) in html
    assert "<script" not in html
    headers = fetch("localhost", None, ADMIN, path="/")[2]
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_a_name_that_is_not_ascii_costs_nothing(running: Owner) -> None:
    """Nor does it write into the log: the end of the fixture looks for tracebacks."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="xxxx.test")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    with socket.create_connection(ADDRESS, timeout=20) as sock:
        sock.sendall(outgoing.read().replace(b"xxxx", b"\xff\xfe\x80\x1b"))
        with contextlib.suppress(ConnectionError):
            sock.recv(100)
    assert running.get() == (200, FIRST)


def test_root_leaves_another_user_s_state_alone(owner: Owner) -> None:
    """What it made there the service could not read."""
    owner.serve.state.mkdir(mode=0o700)
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(owner.serve.state, nobody, -1)
    done = subprocess.run(owner.serve.command(), env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, "belongs to nobody" in done.stderr) == (69, True)
    assert list(owner.serve.state.iterdir()) == []


def test_a_certificate_without_its_key_is_ordered_anew(internet: Internet, tmp_path: Path) -> None:
    """The start does not fail for it."""
    acme = {"agree_to_terms": True, "directory_url": "https://127.0.0.1:14000/dir"}
    owner = Owner(tmp_path, certificates="acme", acme=acme, http_listen=["inet:127.0.0.9:80"])
    folder = owner.serve.state / "certificates"
    folder.mkdir(parents=True, mode=0o700)
    (folder / f"{HOST}.pem").write_bytes((owner.live / HOST / "fullchain.pem").read_bytes())
    with owner.serve:
        assert owner.serve.wait_for("certificate-unreadable", name=HOST)


def test_a_certificate_that_cannot_be_read_costs_no_record(internet: Internet, tmp_path: Path) -> None:
    """Senders go on looking for the policy."""
    with KnotPrimary(tmp_path / "knot", "serve.test") as primary:
        update = {"server": f"inet:{PRIMARY}:53", "key_file": str(primary.key_file), "ttl": "60s"}
        owner = Owner(tmp_path, dns_update=update)
        owner.serve.publish(DOMAIN, FIRST)
        with owner.serve:
            assert owner.serve.wait_for("record-updated", id=policy_id(FIRST))
        (owner.live / HOST / "privkey.pem").write_text("")
        with owner.serve:
            owner.serve.publish(DOMAIN, SECOND)
            assert owner.serve.wait_for("record-updated", id=policy_id(SECOND))
        assert primary.texts(f"_mta-sts.{DOMAIN}") == [f'"v=STSv1; id={policy_id(SECOND)};"']
