"""The container image: as it is built from the Containerfile, run by podman as compose.yml runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.fakes.hanging import ADDRESS as HANGING
from tests.support.fakes.hanging import HangingHost
from tests.support.servers.container import Container, Podman, make_image
from tests.support.servers.internet import Internet, Site, policy
from tests.support.waiting import wait_until

ENFORCED = "OK secure match=mx.example.net servername=hostname"
GOOD = policy("mx.example.net")
UID = "8462"

# Its first building takes some minutes.
pytestmark = pytest.mark.timeout(900)

Make = Callable[[str], Container]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Podman:
    """The images, made anew where something changed, and a storage that goes with this run."""
    make_image()
    return Podman(tmp_path_factory.mktemp("podman"))


@pytest.fixture(scope="module")
def make(podman: Podman, internet: Internet, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A container for this world; all that it is told is in its environment."""
    settings = {
        "dns.servers": f"{internet.dns.address}:53",
        "dns.timeout": "2s",
        "fetch.ca_file": str(internet.ca_file),
        "fetch.allow_private_addresses": "true",
    }
    return lambda name: Container(podman, name, tmp_path_factory.mktemp(name), settings)


@pytest.fixture(scope="module")
def running(make: Make) -> Iterator[Container]:
    """One for the tests that leave it as it is."""
    with make("running") as container:
        yield container


def test_it_answers_reloads_and_keeps_its_store(make: Make, internet: Internet) -> None:
    """A mounted file is read again on SIGHUP; the volume serves the next container without a fetch."""
    internet.publish("kept.container.test", GOOD)
    container = make("kept")
    with container:
        assert container.ask("postfix", "kept.container.test") == ENFORCED
        assert container.ask("mine", "kept.container.test").startswith("PERM ")
        container.configure({"maps": {"mine": {}}})
        container.reload()
        assert container.ask("mine", "kept.container.test") == ENFORCED
    with container:
        assert container.ask("mine", "kept.container.test") == ENFORCED
    assert internet.gets("kept.container.test") == 1


def test_it_stops_in_time_while_a_fetch_hangs(make: Make, internet: Internet) -> None:
    """Exit code 0: podman did not have to kill it."""
    internet.publish("hangs.container.test", GOOD, address=HANGING)
    with HangingHost() as host, make("hangs") as container, container.client() as client:
        client.send("postfix", "hangs.container.test")
        wait_until(lambda: host.connections > 0, "the policy host is asked")
        container.stop()


def test_a_wrong_variable_ends_it(make: Make) -> None:
    """Exit code 78, and the variable is named."""
    container = make("wrong")
    done = container.podman.run(
        "run", "--rm", *container.options(), "--env=MTASTS_DNS_SERVER=x", "postfix-mtasts", check=False
    )
    assert done.returncode == 78
    assert done.stderr == "MTASTS_DNS_SERVER: unknown variable; did you mean MTASTS_DNS_SERVERS?\n"


def test_it_is_not_root_and_writes_to_the_volume_alone(running: Container) -> None:
    """Whoever breaks in finds nothing to write to."""
    assert running.exec("id", "-u").stdout.strip() == UID
    assert "Read-only file system" in running.exec("touch", "/tmp/x", check=False).stderr
    assert running.exec("stat", "-c", "%u %a", "/var/lib/postfix-mtasts").stdout == f"{UID} 700\n"
    assert "MTASTS_DNS_SERVERS" in running.exec("postfix-mtasts", "config", "show").stdout
    capabilities = running.exec("grep", "CapEff", "/proc/2/status").stdout.split()
    assert int(capabilities[1], 16) == 0


def test_process_1_reaps_what_nobody_waits_for(running: Container, internet: Internet) -> None:
    """Orphans of commands, and workers whose forkserver died before them; the daemon goes on."""
    internet.publish_all({f"{name}.reaped.test": Site(GOOD) for name in ("one", "two")})
    assert running.ask("postfix", "one.reaped.test") == ENFORCED  # so that there are workers
    orphan = "import os, time\nif not os.fork():\n os.closerange(0, 3)\n while os.getppid() != 1: time.sleep(0.01)"
    running.exec("python3", "-c", orphan)
    processes = running.processes()
    (daemon,) = (process for process in processes if process.parent == 1 and process.words.endswith(" daemon"))
    (forkserver,) = (process for process in processes if process.parent == daemon.pid)
    workers = [str(process.pid) for process in processes if process.parent == forkserver.pid]
    assert workers
    running.exec("kill", "-KILL", str(forkserver.pid))
    running.exec("kill", "-KILL", *workers, check=False)  # or they ended by themselves

    def reaped() -> bool:
        left = running.processes()
        ended = {forkserver.pid, *map(int, workers)} & {process.pid for process in left}
        return not ended and not any(process.state.startswith("Z") or "closerange" in process.words for process in left)

    # The daemon sees that the forkserver is gone when it wants a worker from it.
    assert running.ask("postfix", "two.reaped.test") == ENFORCED
    wait_until(reaped, "none of them is left, nor a zombie")


def test_the_health_check_tells_whether_the_daemon_answers(running: Container) -> None:
    """By the program itself; the exit code is what a container engine goes by."""
    check = ("healthcheck", "run", running.name)
    assert running.podman.run(*check, check=False).returncode == 0
    (daemon,) = (
        process for process in running.processes() if process.parent == 1 and process.words.endswith(" daemon")
    )
    running.exec("kill", "-STOP", str(daemon.pid))
    try:
        assert running.podman.run(*check, check=False).returncode == 1
    finally:
        running.exec("kill", "-CONT", str(daemon.pid))
    # For a moment it says itself that its refresher stood still.
    wait_until(lambda: running.podman.run(*check, check=False).returncode == 0, "it is healthy again")


def test_the_postfix_beside_it_asks_it(podman: Podman, running: Container, internet: Internet) -> None:
    """By the table of its main.cf; the name of the service is the host's."""
    internet.publish("beside.container.test", GOOD)
    run = ("run", "--rm", "--network=host", "--cgroups=disabled", *running.limits, "--add-host=mtasts:127.0.0.1")
    table = podman.run(*run, "postfix", "postconf", "-h", "smtp_tls_policy_maps").stdout.strip()
    assert table == "socketmap:inet:mtasts:8462:postfix"
    here = table.replace("8462", running.address.rpartition(":")[2])
    answer = podman.run(*run, "postfix", "postmap", "-q", "beside.container.test", here).stdout
    assert f"OK {answer}" == f"{ENFORCED}\n"
    podman.run(*run, "postfix", "postfix", "check")
