"""How `serve` does under load, and what its clients see while it changes.

python -m tests.support.namespace python -m benchmarks.publishing [--seconds 3]

speed     handshakes with one GET, and GETs on kept connections, a second, beside nginx with the same file
memory    of 1,000 domains with a certificate each
change    seconds from a file in the folder to its being served
clients   what a client gets in 10,000 requests during changes, reloads, renewals and restarts
orders    100 domains from nothing to certified by pebble, with and without kill -9 in the middle
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import trustme

from tests.support.namespace import inside
from tests.support.servers.daemon import ENVIRONMENT
from tests.support.servers.debian import NSD, Nginx, Nsd
from tests.support.servers.internet import policy
from tests.support.servers.pebble import Pebble
from tests.support.servers.serve import POLICY_PATH, Serve, fetch
from tests.support.waiting import wait_until

OURS, THEIRS = ("127.0.0.9", 443), ("127.0.0.1", 443)
TEXT = policy("mx.example.net")
CLIENTS = 8  # threads of the load


def certify(live: Path, ca: trustme.CA, name: str) -> bytes:
    """Lay a certificate out as certbot does; its key and chain."""
    issued = ca.issue_cert(name)
    folder = live / name
    folder.mkdir(parents=True, exist_ok=True)
    pem = issued.private_key_pem.bytes() + b"".join(each.bytes() for each in issued.cert_chain_pems)
    (folder / "fullchain.new").write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    (folder / "privkey.new").write_bytes(issued.private_key_pem.bytes())
    (folder / "privkey.new").rename(folder / "privkey.pem")
    (folder / "fullchain.new").rename(folder / "fullchain.pem")
    return pem


def serve_of(directory: Path, live: Path, **publish: object) -> Serve:
    settings = {"listen": ["inet:127.0.0.9:443"], "certificates": "files", "certificate_directory": str(live)}
    return Serve(directory, {**settings, **publish}, dns={"servers": ["127.0.0.98:53"], "timeout": "100ms"})


def rate(work: list[str], seconds: float, address: tuple[str, int], name: str, ca: str) -> float:
    """Requests a second of CLIENTS processes, each of which does *work*."""
    code = LOAD.replace("WORK", work[0])
    command = [sys.executable, "-c", code, address[0], name, ca, str(seconds)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    return sum(float(process.communicate()[0]) for process in processes) / seconds


LOAD = """
import http.client, socket, ssl, sys, time
address, name, ca, seconds = sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4])
context = ssl.create_default_context(cafile=ca)
def connect():
    return context.wrap_socket(socket.create_connection((address, 443), timeout=20), server_hostname=name)
def get(connection):
    connection.request("GET", "/.well-known/mta-sts.txt")
    assert connection.getresponse().read().startswith(b"version")
def fresh():
    connection = http.client.HTTPConnection(name)
    connection.sock = connect()
    get(connection)
    connection.close()
kept = http.client.HTTPConnection(name)
kept.sock = connect()
def reused():
    try:
        get(kept)
    except (OSError, http.client.HTTPException):  # nginx ends a connection after 1,000 requests
        kept.close()
        kept.sock = connect()
        get(kept)
done, ends = 0, time.monotonic() + seconds
while time.monotonic() < ends:
    WORK
    done += 1
print(done)
"""


def speed(directory: Path, seconds: float) -> None:
    ca, name = trustme.CA(), "mta-sts.speed.test"
    ca_file = str(directory / "ca.pem")
    ca.cert_pem.write_to_path(ca_file)
    pem = certify(directory / "live", ca, name)
    serve = serve_of(directory / "serve", directory / "live")
    serve.publish("speed.test", TEXT)
    nginx = Nginx(directory / "nginx")
    with nginx, serve:
        nginx.serve(name, TEXT, pem)
        serve.wait_for("certificate-read")
        for title, work in (("handshake and GET", ["fresh()"]), ("GET, kept connection", ["reused()"])):
            rounds = [[rate(work, seconds, place, name, ca_file) for place in (OURS, THEIRS)] for _ in range(3)]
            ours, theirs = (statistics.median(each) for each in zip(*rounds, strict=True))
            print(f"{title:22} serve {ours:7.0f}/s  nginx {theirs:7.0f}/s  {ours / theirs:.2f}")


def memory(directory: Path) -> None:
    ca = trustme.CA()
    serve = serve_of(directory / "serve", directory / "live")
    with serve:
        empty = pss(serve.pid)
    for number in range(1_000):
        certify(directory / "live", ca, f"mta-sts.d{number}.test")
        serve.publish(f"d{number}.test", TEXT)
    with serve:
        wait_until(lambda: len(serve.events("certificate-read")) == 1_000, "all certificates are read", 120)
        print(f"memory                 {empty:.0f} MiB without a domain, {pss(serve.pid):.0f} MiB with 1,000 (PSS)")
        changes = []
        for number in range(5):
            text = policy(f"mx{number}.example.net")
            serve.publish("d7.test", text)
            began = time.monotonic()
            wait_until(lambda text=text: got(ca, "mta-sts.d7.test") == text, "it is served")  # type: ignore[misc]
            changes.append(time.monotonic() - began)
        print(
            f"file to served         {statistics.median(changes):.1f} s, {max(changes):.1f} s at most, of 1,000 domains"
        )


def got(ca: trustme.CA, name: str) -> bytes:
    return fetch(name, ca.cert_pem.bytes(), OURS)[1]


def pss(pid: int) -> float:
    """MiB of a process, its shared pages in proportion."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


START = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True);"
    "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); os.execvp(sys.argv[2], sys.argv[2:])"
)


def clients(directory: Path, requests: int = 10_000) -> None:
    """Changes, reloads, renewals and restarts, 50 in all, with the socket held open as systemd does."""
    ca, name = trustme.CA(), "mta-sts.clients.test"
    certify(directory / "live", ca, name)
    serve = serve_of(directory / "serve", directory / "live")
    texts = [policy(f"mx{number}.example.net") for number in range(51)]
    serve.publish("clients.test", texts[0])
    listening = socket.create_server(OURS, backlog=1024)
    listening.set_inheritable(True)
    answers: Counter[str] = Counter()
    stop = False

    def start() -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", START, str(listening.fileno()), *serve.command()]
        return subprocess.Popen(command, env=ENVIRONMENT, pass_fds=[listening.fileno()], stderr=subprocess.DEVNULL)

    def ask() -> None:
        context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
        while sum(answers.values()) < requests or not stop:
            try:
                sock = context.wrap_socket(socket.create_connection(OURS, timeout=60), server_hostname=name)
                connection = http.client.HTTPConnection(name)
                connection.sock = sock
                connection.request("GET", POLICY_PATH)
                response = connection.getresponse()
                body = response.read()
                connection.close()
                whole = response.status == 200 and body in texts
                answers["200, whole and valid" if whole else f"{response.status}, {len(body)} bytes"] += 1
            except OSError as error:
                answers[f"no answer: {error}"] += 1

    process = start()
    wait_until(lambda: served(ca, name), "the first policy is served")
    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    for number in range(1, 51):
        serve.publish("clients.test", texts[number])
        if number % 4 == 1:
            process.send_signal(1)
        elif number % 4 == 2:
            certify(directory / "live", ca, name)
            process.send_signal(1)
        elif number % 4 == 3:
            process.terminate()
            process.wait(30)
            process = start()
        wait_until(lambda text=texts[number]: text == latest(ca, name), "the change is served", 60)  # type: ignore[misc]
    stop = True
    for asker in askers:
        asker.join()
    process.terminate()
    process.wait(30)
    listening.close()
    print(f"clients                {sum(answers.values())} requests during 50 changes: {dict(answers)}")


def latest(ca: trustme.CA, name: str) -> bytes:
    try:
        return got(ca, name)
    except OSError:
        return b""


def served(ca: trustme.CA, name: str) -> bool:
    return latest(ca, name) != b""


def orders(directory: Path, kill: bool) -> None:
    names = [f"d{number}.orders.test" for number in range(100)]
    with Nsd(directory / "nsd") as nsd, Pebble(directory / "pebble", f"{NSD}:53") as pebble:
        nsd.load(f"mta-sts.{name}. 60 IN A {OURS[0]}" for name in names)
        acme = {"directory_url": pebble.directory_url, "agree_to_terms": True, "ca_file": str(pebble.ca_file)}
        publish = {"listen": ["inet:127.0.0.9:443"], "http_listen": ["inet:127.0.0.9:80"], "acme": acme}
        serve = Serve(directory / "serve", publish, dns={"servers": [f"{NSD}:53"]})
        for name in names:
            serve.publish(name, TEXT)
        began = time.monotonic()
        if kill:
            with serve:
                wait_until(
                    lambda: len(list((serve.state / "certificates").glob("*.pem"))) > 30, "some are certified", 120
                )
                serve.kill()
        with serve:
            wait_until(lambda: certified(serve) == len(names), "all are certified", 300)
            took = time.monotonic() - began
        how = "killed once" if kill else "undisturbed"
        print(f"orders                 100 domains in {took:.0f} s, {how}: {pebble.orders()} orders")


def certified(serve: Serve) -> int:
    return len(list((serve.state / "certificates").glob("*.pem")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", help="only this one: speed, memory, clients, orders or killed")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round of the load")
    args = parser.parse_args()
    if not inside():
        parser.error("run it in the namespace, as --help shows")
    os.environ.pop("HTTPS_PROXY", None)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    with tempfile.TemporaryDirectory(prefix="publishing-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for part, run in (
            ("speed", lambda place: speed(place, args.seconds)),
            ("memory", memory),
            ("clients", clients),
            ("orders", lambda place: orders(place, kill=False)),
            ("killed", lambda place: orders(place, kill=True)),
        ):
            if args.part not in (None, part):
                continue
            (directory / part).mkdir()
            run(directory / part)


if __name__ == "__main__":
    main()
