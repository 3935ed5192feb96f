"""`cache` against a running daemon, and against the store it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.servers.daemon import ENVIRONMENT, Daemon
from tests.support.servers.internet import Internet, Site, policy

OWNER = 4711  # uid and gid of nobody in particular


def cache(daemon: Daemon, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "postfix_mtasts", "cache", *arguments, "--config", str(daemon.config_file)]
    return subprocess.run(command, env=ENVIRONMENT, input=stdin, capture_output=True, text=True, timeout=60)


def commands(daemon: Daemon, name: str) -> str:
    """Every command once, on the domain *name*; what export printed."""
    warmed = cache(daemon, "warm", "-", stdin=f"{name}\nnever.cache.test\n")
    assert (warmed.returncode, warmed.stderr) == (0, "")
    assert warmed.stdout.startswith("1 have policies (0 known before), 1 have none\n0 failed\n")
    assert name in cache(daemon, "list", "--mode", "enforce").stdout
    assert cache(daemon, "list", "--failing").returncode == 1
    assert "answer on postfix: secure match=mx.example.net" in cache(daemon, "show", name).stdout
    assert "policies enforce: " in cache(daemon, "stats").stdout
    assert cache(daemon, "refresh", name).stdout == f'{name}: fetched: "mode enforce"\n'
    exported = cache(daemon, "export").stdout
    assert cache(daemon, "forget", name).stdout == f"{name}: forgotten\n"
    assert cache(daemon, "show", name).returncode == 1
    imported = cache(daemon, "import", stdin=exported + "nonsense\n")
    assert "1 refused" in imported.stdout
    assert imported.stderr.startswith(f"line {len(exported.splitlines()) + 1}: refused: ")
    assert cache(daemon, "show", name).returncode == 0
    return exported


def test_with_and_without_a_daemon(internet: Internet, tmp_path: Path) -> None:
    """The same commands do the same, and what was done outlives the daemon."""
    names = ["with.cache.test", "without.cache.test"]
    internet.publish_all({name: Site(policy("mx.example.net")) for name in names})
    daemon = Daemon(tmp_path / ("deep" * 30), internet.config())  # a path longer than a socket address
    with daemon:
        commands(daemon, names[0])
    exported = commands(daemon, names[1])
    assert {json.loads(line)["domain"] for line in exported.splitlines()} == set(names)


def test_query_marks_where_the_daemon_differs(internet: Internet, tmp_path: Path) -> None:
    """A policy changed at its host: the daemon's stays in force until it is fetched again, and `query` says so."""
    name = "changed.cache.test"
    internet.publish(name, policy("old.example.net"))
    daemon = Daemon(tmp_path, internet.config())

    def query(*options: str) -> str:
        command = [sys.executable, "-m", "postfix_mtasts", "query", "--config", str(daemon.config_file), *options, name]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    old, new = (f"OK secure match={mx}.example.net servername=hostname" for mx in ("old", "new"))
    with daemon:
        assert query() == f"{name}: {old}\n  daemon: holds nothing, the next lookup asks\n"
        assert daemon.ask("postfix", name) == old
        assert query().startswith(f"{name}: {old}\n  daemon: answers alike; holds id 1, fetched ")
        internet.publish(name, policy("new.example.net"), records=["v=STSv1; id=2;"])
        assert query().startswith(
            f"{name}: {new}\n  daemon: DIFFERS in answer, record id, policy; answers {old}; holds id 1, fetched "
        )
        told = json.loads(query("--json"))
        assert (told["answer"], told["daemon"]["answer"]) == (new, old)
        assert (told["daemon"]["record_id"], told["daemon"]["differs"]) == ("1", ["answer", "record id", "policy"])
        assert "The domain has changed it since." in " ".join(query("--explain").split())
        assert daemon.ask("postfix", name) == old, "asking changed nothing"
        assert cache(daemon, "refresh", name).returncode == 0
        assert query().startswith(f"{name}: {new}\n  daemon: answers alike; holds id 2, fetched ")
    assert query() == f"{name}: {new}\n"


def test_what_root_writes_belongs_to_the_owner_of_the_directory() -> None:
    """The daemon runs as that user, and could use nothing else."""
    with TemporaryDirectory() as name:  # pytest's own directories are root's alone
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "store").mkdir(mode=0o700)
        os.chown(directory / "store", OWNER, OWNER)
        row = {"domain": "example.com", "record_id": "1", "fetched_at": time.time(), "used_at": 0.0}
        row |= {"policy": policy("mx.example.net").decode()}
        daemon = Daemon(directory, {})
        assert cache(daemon, "import", stdin=json.dumps(row)).stdout.startswith("1 taken")
        assert {path.name: path.stat().st_uid for path in (directory / "store").iterdir()} == {
            "cache.db": OWNER,
            "lock": OWNER,
        }
        assert cache(daemon, "list").returncode == 0
