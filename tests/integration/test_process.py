"""The daemon as a process: its sockets, its signals, its end, and what it finds when it starts again."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.support.servers.daemon import ENVIRONMENT, PATIENCE, Daemon, refused
from tests.support.servers.debian import postmap
from tests.support.servers.internet import Internet, policy
from tests.support.waiting import accepts, wait_until

ENFORCED = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")


@pytest.fixture(scope="module", autouse=True)
def _published(internet: Internet) -> None:
    internet.publish("known.process.test", GOOD)


def test_a_policy_survives_a_hard_end(internet: Internet, tmp_path: Path) -> None:
    """A policy is stored before it is first used: kill -9 loses none that Postfix was told of."""
    internet.publish("stored.process.test", GOOD)
    daemon = Daemon(tmp_path, internet.config())
    with daemon:
        assert daemon.ask("postfix", "stored.process.test") == ENFORCED
        daemon.kill()
    with daemon:
        assert daemon.ask("postfix", "stored.process.test") == ENFORCED
    assert internet.gets("stored.process.test") == 1
    assert internet.txt_queries("stored.process.test") == 1


def test_a_unix_socket_is_made_anew_after_a_hard_end(internet: Internet, tmp_path: Path) -> None:
    """It has the mode that was asked for, a stale one is replaced, and the daemon removes its own."""
    path = tmp_path / "socketmap"
    daemon = Daemon(tmp_path, internet.config(listen=[f"unix:{path}"], socket_mode="0666"))
    with daemon:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        daemon.kill()
    assert path.is_socket()
    with daemon:
        line = "secure match=mx.example.net servername=hostname\n"
        assert postmap(tmp_path / "conf", daemon.table(), "known.process.test") == (0, line, "")
    assert not path.exists()


def test_neither_a_living_daemons_socket_nor_a_file_is_replaced(internet: Internet, tmp_path: Path) -> None:
    """Exit 69 with one line that names the address; the file and the daemon stay as they were."""
    path, file = tmp_path / "socketmap", tmp_path / "file"
    file.write_text("precious")
    with Daemon(tmp_path / "first", internet.config(listen=[f"unix:{path}"])) as daemon:
        for taken in (path, file):
            code, said = refused(tmp_path / "second", internet.config(listen=[f"unix:{taken}"]))
            assert code == 69
            assert len([line for line in said.splitlines() if str(taken) in line]) == 1
            assert "Traceback" not in said
        assert daemon.ask("postfix", "known.process.test") == ENFORCED
    assert file.read_text() == "precious"


def test_a_taken_port_and_a_taken_store_are_refused(internet: Internet, tmp_path: Path) -> None:
    """Exit 69: two daemons share neither an address nor a store."""
    with Daemon(tmp_path / "first", internet.config()) as daemon:
        code, said = refused(tmp_path / "second", internet.config(listen=[daemon.address]))
        assert (code, daemon.address in said) == (69, True)
        code, said = refused(tmp_path / "first", internet.config())
        assert (code, str(tmp_path / "first" / "store") in said) == (69, True)


def test_a_faulty_configuration_starts_nothing(internet: Internet, tmp_path: Path) -> None:
    """Exit 78, and a line a fault that names file, line and key."""
    code, said = refused(tmp_path, internet.config(lookup={"wiat": "3s"}))
    assert code == 78
    assert f"{tmp_path}/config.yml:" in said
    assert "wiat" in said
    assert not (tmp_path / "store").exists()


def test_a_reload_takes_a_new_configuration_and_refuses_a_faulty_one(internet: Internet, tmp_path: Path) -> None:
    """SIGHUP: maps change while connections stay open; with a fault the old configuration stays in force."""
    with Daemon(tmp_path, internet.config()) as daemon, daemon.client() as client:
        assert client.ask("mine", "known.process.test").startswith("PERM ")
        daemon.configure({**daemon.config, "maps": {"mine": {}}})
        daemon.reload()
        assert client.ask("mine", "known.process.test") == ENFORCED
        assert client.ask("postfix", "known.process.test").startswith("PERM ")
        seen = len(daemon.lines)
        daemon.configure({**daemon.config, "maps": {"mine": {"colour": "red"}}})
        daemon.hang_up()
        assert "colour" in daemon.wait_for("reload-refused", seen)
        assert client.ask("mine", "known.process.test") == ENFORCED


def test_the_store_is_the_owners_alone(internet: Internet, tmp_path: Path) -> None:
    """Its directory has mode 0700, whatever the umask."""
    before = os.umask(0)
    try:
        with Daemon(tmp_path, internet.config()):
            assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    finally:
        os.umask(before)


def test_health_and_metrics_over_http(internet: Internet, tmp_path: Path) -> None:
    """What monitoring sees of a running daemon; a reload moves it to another address, or ends it."""
    with Daemon(tmp_path, internet.config(metrics={"listen": "inet:127.0.0.1:9462"})) as daemon:
        assert daemon.ask("postfix", "known.process.test") == ENFORCED
        with urlopen("http://127.0.0.1:9462/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        assert 'mtasts_lookups_total{answer="secure",map="postfix"} 1.0' in lines
        assert 'mtasts_policies{mode="enforce"} 1.0' in lines
        assert 'mtasts_dns_queries_total{result="noerror",type="TXT"} 1.0' in lines
        with urlopen("http://127.0.0.1:9462/healthz", timeout=10) as page:
            assert page.status == 200
        daemon.configure({**daemon.config, "metrics": {"listen": "inet:127.0.0.1:9463"}})
        daemon.reload()
        with urlopen("http://127.0.0.1:9463/healthz", timeout=10) as page:
            assert page.status == 200


def test_a_reload_that_fails_at_one_address_moves_none(internet: Internet, tmp_path: Path) -> None:
    """The old configuration stays in force whole: /healthz too is where it was."""
    with (
        Daemon(tmp_path / "first", internet.config()) as other,
        Daemon(tmp_path / "second", internet.config(metrics={"listen": "inet:127.0.0.1:9464"})) as daemon,
    ):
        seen = len(daemon.lines)
        moved = {"listen": [daemon.address, other.address], "metrics": {"listen": "inet:127.0.0.1:9465"}}
        daemon.configure({**daemon.config, **moved})
        daemon.hang_up()
        assert other.address in daemon.wait_for("reload-refused", seen)
        with urlopen("http://127.0.0.1:9464/healthz", timeout=10) as page:
            assert page.status == 200
        with pytest.raises(OSError, match=r"refused|reset"):  # reset: it was closed a moment ago
            urlopen("http://127.0.0.1:9465/healthz", timeout=10)


def test_a_log_that_nobody_reads_holds_up_no_answer_and_no_end(internet: Internet, tmp_path: Path) -> None:
    """Standard error is a full pipe: lookups are answered, what was dropped is told once, and SIGTERM ends with 0."""
    daemon = Daemon(tmp_path, internet.config(log={"level": "debug"}))
    read_end, write_end = os.pipe()
    fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, 4096)
    process = subprocess.Popen(daemon.command(), env=ENVIRONMENT, stdin=subprocess.DEVNULL, stderr=write_end)
    try:
        host, port = daemon.address.split(":")[1:]
        wait_until(lambda: accepts(host, int(port)), "the daemon listens")
        with daemon.client() as client:
            for number in range(5_000):  # a line each, of which the pipe takes forty
                assert client.ask("postfix", f"x{number}") == "NOTFOUND "
            assert client.ask("postfix", "known.process.test") == ENFORCED
            text = b""
            while b" log-dropped number=" not in text:
                text += os.read(read_end, 1 << 16)
            for number in range(5_000):
                assert client.ask("postfix", f"y{number}") == "NOTFOUND "
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read_end)
        os.close(write_end)


def test_a_storm_of_reloads(internet: Internet, tmp_path: Path) -> None:
    """Lookups go on, what came meanwhile becomes one more reload, and the last configuration is in force."""
    with Daemon(tmp_path, internet.config()) as daemon, daemon.client() as client:
        for number in range(200):
            daemon.hang_up()
            if number % 20 == 0:
                assert client.ask("postfix", "known.process.test") == ENFORCED
        daemon.configure({**daemon.config, "maps": {"mine": {}}})
        daemon.hang_up()
        wait_until(lambda: client.ask("mine", "known.process.test") == ENFORCED, "the last configuration is in force")
        assert 1 <= len(daemon.events("reloaded")) <= 201


def test_a_socket_file_that_was_removed_is_bound_anew_at_a_reload(internet: Internet, tmp_path: Path) -> None:
    """Whoever is connected stays so; and a file in its place is refused, not taken for the socket."""
    path = tmp_path / "socketmap"
    with Daemon(tmp_path, internet.config(listen=[f"unix:{path}"], socket_mode="0600")) as daemon:
        with daemon.client() as client:
            path.unlink()
            daemon.reload()
            assert client.ask("postfix", "known.process.test") == ENFORCED
        assert daemon.ask("postfix", "known.process.test") == ENFORCED
        path.unlink()
        secret = tmp_path / "secret"
        secret.touch(mode=0o640)
        path.symlink_to(secret)
        seen = len(daemon.lines)
        daemon.configure({**daemon.config, "socket_mode": "0666"})
        daemon.hang_up()
        assert "a file that is not a socket is there" in daemon.wait_for("reload-refused", seen)
        assert stat.S_IMODE(secret.stat().st_mode) == 0o640
    assert path.is_symlink()


def test_a_pipe_as_configuration_is_refused_at_a_reload(internet: Internet, tmp_path: Path) -> None:
    """It is not waited for, and the old configuration stays in force."""
    with Daemon(tmp_path, internet.config()) as daemon:
        daemon.config_file.unlink()
        os.mkfifo(daemon.config_file)
        daemon.hang_up()
        assert "a pipe or a terminal cannot be read again" in daemon.wait_for("reload-refused")
        assert daemon.ask("postfix", "known.process.test") == ENFORCED


@pytest.mark.parametrize("files", [64, 159])
def test_too_few_open_files_are_told_at_the_start(internet: Internet, tmp_path: Path, files: int) -> None:
    """Exit 69 with one line, instead of a daemon that says ready and resets each connection."""
    daemon = Daemon(tmp_path, internet.config())
    command = ["prlimit", f"--nofile={files}", *daemon.command()]
    done = subprocess.run(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 69
    wanted = f"postfix-mtasts: only {files} files may be open, and 160 are needed at least; raise LimitNOFILE"
    assert done.stderr.decode().startswith(wanted)


def test_few_open_files_are_enough_for_few_connections(internet: Internet, tmp_path: Path) -> None:
    """With 160 of them 32 clients are served; more of them displace the idlest, and lookups go on."""

    class Narrow(Daemon):
        def command(self) -> list[str]:
            return ["prlimit", "--nofile=160", *super().command()]

    internet.publish("narrow.process.test", GOOD)
    with Narrow(tmp_path, internet.config()) as daemon, ExitStack() as stack:
        assert "connections=32" in daemon.wait_for("few-descriptors")
        for number in range(100):
            client = stack.enter_context(daemon.client())
            assert client.ask("postfix", "known.process.test") == ENFORCED, number
        assert client.ask("postfix", "narrow.process.test") == ENFORCED
