"""The store in a bad way: a full disk, a damaged file, a directory that cannot be written."""

from __future__ import annotations

import shutil
import subprocess
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.operating.test_http import DIRECT
from tests.integration.test_cache import cache
from tests.support.servers.daemon import Daemon, refused
from tests.support.servers.internet import Internet, Site, policy

ENFORCED = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk(internet: Internet, tmp_path: Path, small_disk: Path) -> None:
    """Policies serve from memory, are written when there is room, and then survive kill -9."""
    names = [f"full{number}.disk.test" for number in range(3)]
    internet.publish_all({name: Site(GOOD) for name in names})
    filler = small_disk / "filler"
    config = internet.config(cache={"directory": str(small_disk / "store")})
    daemon = Daemon(tmp_path / "daemon", config)
    with daemon:
        assert daemon.ask("postfix", names[0]) == ENFORCED
        fill(small_disk)
        assert daemon.ask("postfix", names[1]) == ENFORCED
        daemon.wait_for("store-failing")
        assert daemon.ask("postfix", names[0]) == ENFORCED
        filler.unlink()
        daemon.wait_for("store-works-again")
        assert daemon.ask("postfix", names[2]) == ENFORCED
        daemon.kill()
    with daemon:
        assert [daemon.ask("postfix", name) for name in names] == [ENFORCED] * 3
    assert [internet.gets(name) for name in names] == [1, 1, 1]


def fill(place: Path) -> Path:
    """Leave no byte free."""
    full = subprocess.run(["dd", "if=/dev/zero", f"of={place / 'filler'}", "bs=1k"], capture_output=True, text=True)
    assert "No space left" in full.stderr
    return place / "filler"


def remount(place: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def healthz(address: str) -> tuple[int, str]:
    """What monitoring is told."""
    try:
        with DIRECT.open(f"http://{address.removeprefix('inet:')}/healthz", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("harm", ["full", "read-only"])
@pytest.mark.parametrize("end", ["stopped", "killed"])
def test_a_start_on_a_disk_that_cannot_be_written(
    internet: Internet, tmp_path: Path, small_disk: Path, harm: str, end: str
) -> None:
    """A restart must not hold mail up: what is stored serves, /healthz is 503, and all is written when it can be."""
    known, new = f"known.{harm}.{end}.disk.test", f"new.{harm}.{end}.disk.test"
    internet.publish_all({name: Site(GOOD) for name in (known, new)})
    address = f"inet:127.0.0.1:{9480 + 2 * (harm == 'full') + (end == 'killed')}"
    config = internet.config(cache={"directory": str(small_disk / "store")}, metrics={"listen": address})
    daemon = Daemon(tmp_path / "daemon", config)
    with daemon:
        assert daemon.ask("postfix", known) == ENFORCED
        if end == "killed":
            daemon.kill()
    if harm == "full":
        filler = fill(small_disk)
    else:
        remount(small_disk, "ro")
    with daemon:
        assert daemon.ask("postfix", known) == ENFORCED
        assert daemon.ask("postfix", new) == ENFORCED
        daemon.wait_for("store-failing")
        status, text = healthz(address)
        assert (status, "the store cannot be used" in text) == (503, True)
        if harm == "full":
            filler.unlink()
        else:
            remount(small_disk, "rw")
        daemon.wait_for("store-works-again")
        daemon.kill()
    with daemon:
        assert [daemon.ask("postfix", name) for name in (known, new)] == [ENFORCED] * 2
        assert healthz(address) == (200, "ok\n")
    assert [internet.gets(name) for name in (known, new)] == [1, 1]


def test_commands_on_a_read_only_mount(internet: Internet, tmp_path: Path, small_disk: Path) -> None:
    """They show what is stored; beside a daemon, which has no control socket there, they name the right process."""
    internet.publish("readonly.disk.test", GOOD)
    daemon = Daemon(tmp_path / "daemon", internet.config(cache={"directory": str(small_disk / "store")}))
    with daemon:
        assert daemon.ask("postfix", "readonly.disk.test") == ENFORCED
    remount(small_disk, "ro")
    listed = cache(daemon, "list")
    assert (listed.returncode, "readonly.disk.test" in listed.stdout) == (0, True)
    forgotten = cache(daemon, "forget", "readonly.disk.test")
    assert (forgotten.returncode, "Traceback" in forgotten.stderr) == (69, False)
    with daemon:
        refused_ = cache(daemon, "list")
        assert refused_.returncode == 69
        assert refused_.stderr == (
            f"postfix-mtasts: {small_disk}/store: in use by process {daemon.pid}; one process at a time can hold "
            "a store, and that one offers no control socket; if it is the daemon, its log says why\n"
        )


def test_a_damaged_store_is_set_aside(internet: Internet, tmp_path: Path) -> None:
    """Under another name, with a line in the log; a new one is begun, and nothing waits for a human."""
    internet.publish("damaged.disk.test", GOOD)
    daemon = Daemon(tmp_path, internet.config())
    with daemon:
        assert daemon.ask("postfix", "damaged.disk.test") == ENFORCED
    store = tmp_path / "store"
    (store / "cache.db").write_bytes(b"no database" * 1000)
    with daemon:
        daemon.wait_for("store-damaged")
        assert daemon.ask("postfix", "damaged.disk.test") == ENFORCED
    assert [path for path in store.iterdir() if "damaged" in path.name]
    with daemon:
        assert daemon.ask("postfix", "damaged.disk.test") == ENFORCED
    assert internet.gets("damaged.disk.test") == 2


def test_a_store_damaged_while_it_is_in_use(internet: Internet, tmp_path: Path) -> None:
    """What memory holds is written to the new one, and not one policy is fetched for it."""
    names = [f"inuse{number}.disk.test" for number in range(2)]
    internet.publish_all({name: Site(GOOD) for name in names})
    daemon = Daemon(tmp_path, internet.config())
    with daemon:
        assert daemon.ask("postfix", names[0]) == ENFORCED
        for path in (tmp_path / "store").glob("cache.db*"):
            path.unlink()
        assert daemon.ask("postfix", names[1]) == ENFORCED
        daemon.wait_for("store-damaged")
    with daemon:
        assert [daemon.ask("postfix", name) for name in names] == [ENFORCED] * 2
    assert [internet.gets(name) for name in names] == [1, 1]


def test_a_directory_removed_while_it_is_in_use(internet: Internet, tmp_path: Path) -> None:
    """Commands reach the daemon again, no second one can start, and no policy is lost."""
    internet.publish("removed.disk.test", GOOD)
    daemon = Daemon(tmp_path / "daemon", internet.config())
    store = tmp_path / "daemon" / "store"
    with daemon:
        assert daemon.ask("postfix", "removed.disk.test") == ENFORCED
        shutil.rmtree(store)
        daemon.wait_for("control-restarted")
        assert cache(daemon, "show", "removed.disk.test").returncode == 0
        second = internet.config(cache={"directory": str(store)}, listen=["inet:127.0.0.1:9490"])
        code, said = refused(tmp_path / "second", second)
        assert (code, f"in use by process {daemon.pid}" in said) == (69, True)
        daemon.kill()
    with daemon:
        assert daemon.ask("postfix", "removed.disk.test") == ENFORCED
    assert internet.gets("removed.disk.test") == 1


def test_a_directory_that_cannot_be_written_is_refused(internet: Internet, tmp_path: Path, small_disk: Path) -> None:
    """Exit 69, and one line that names it."""
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    code, said = refused(tmp_path / "daemon", internet.config(cache={"directory": str(small_disk / "store")}))
    assert code == 69
    assert len([line for line in said.splitlines() if str(small_disk) in line]) == 1
    assert "Traceback" not in said
