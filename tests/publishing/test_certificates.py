"""publishing/certificates.py: when a certificate is ordered, and that no fault orders one twice."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postfix_mtasts.core.publication import Order
from postfix_mtasts.errors import AcmeError
from postfix_mtasts.publishing.certificates import Certificate, Certificates, read_certificate, retry_delay
from tests.support.waiting import wait_until

NAME = "mta-sts.example.com"
HOUR, DAY = 3_600.0, 86_400.0
NOW = 1_700_000_000.0


def issue(begins: float, life: float) -> tuple[str, str]:
    """A key and a certificate of its own, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    moment = datetime.datetime.fromtimestamp(begins, datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(moment)
        .not_valid_after(moment + datetime.timedelta(seconds=life))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(pem, form, plain).decode(), made.public_bytes(pem).decode()


class FakeAuthority:
    """An ACME server that writes down what it is asked, and fails when told to."""

    def __init__(self) -> None:
        self.now = NOW
        self.life = 90 * DAY
        self.calls: list[str] = []
        self.fails: AcmeError | None = None
        self.hangs: threading.Event | None = None
        self.served: dict[str, str] = {}  # what port 80 would have answered while the order was finished
        self.challenges: dict[str, str] = {}

    def begin(self, name: str) -> Order:
        self.calls.append(f"begin {name}")
        key, self._chain = issue(self.now, self.life)
        return Order(name, f"https://acme.test/order/{len(self.calls)}", key)

    def answers(self, order: Order) -> dict[str, str]:
        return {"token": f"answer for {order.name}"}

    def finish(self, order: Order, seconds: float) -> str:
        self.calls.append(f"finish {order.uri.rpartition('/')[2]}")
        self.served = dict(self.challenges)
        if self.hangs is not None:
            self.hangs.wait(30)
        if self.fails is not None:
            raise self.fails
        return self._chain


class World:
    """Certificates, their folder, and a clock that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.authority = folder, FakeAuthority()
        self.has_address = True
        self.obtained: list[tuple[str, Certificate]] = []
        self.restart()

    def restart(self) -> None:
        self.certificates = Certificates(
            self.folder,
            self.authority,
            lambda name: self.has_address,
            lambda: self.authority.now,
            lambda name, certificate: self.obtained.append((name, certificate)),
        )
        self.authority.challenges = self.certificates.challenges

    def due(self) -> bool:
        return self.certificates.due(NAME, self.authority.now)

    def attend(self) -> None:
        """Do what a thread does for one name that is due."""
        assert self.due()
        self.certificates.attend(NAME)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_name_without_a_certificate_gets_one(world: World) -> None:
    """Its challenge is answered meanwhile, key and chain end in one private file."""
    world.attend()
    assert [name for name, _ in world.obtained] == [NAME]
    assert world.authority.served == {"token": f"answer for {NAME}"}
    assert world.certificates.challenges == {}
    file = world.folder / "certificates" / f"{NAME}.pem"
    assert file.stat().st_mode & 0o777 == 0o600
    assert read_certificate(file.read_bytes()) == world.obtained[0][1]


def test_two_thirds_of_a_life_are_served_before_the_next_order(world: World) -> None:
    """Whatever the life is."""
    for life in (90 * DAY, 6 * DAY, 1 * HOUR):
        world.authority.life = life
        world.attend()
        world.authority.now += life * 2 / 3 - 1
        assert not world.due()
        world.authority.now += 2
        assert world.due()


def test_a_certificate_survives_a_restart(world: World) -> None:
    """Nothing is ordered for it."""
    world.attend()
    world.restart()
    assert not world.due()
    assert world.certificates.certificates[NAME] == world.obtained[0][1]


def test_an_order_under_way_is_gone_on_with_after_a_restart(world: World) -> None:
    """A second one would count against the server's limits."""
    world.authority.fails = AcmeError("the server is slow")
    world.attend()
    world.authority.fails = None
    world.authority.now += HOUR
    world.restart()
    world.attend()
    assert world.authority.calls == [f"begin {NAME}", "finish 1", "finish 1"]
    assert world.obtained


def test_an_order_that_the_server_gave_up_is_begun_anew(world: World) -> None:
    """An hour later."""
    world.authority.fails = AcmeError("refused", gone=True)
    world.attend()
    assert not world.due()
    world.authority.fails = None
    world.authority.now += HOUR
    world.attend()
    assert [call.partition(" ")[0] for call in world.authority.calls] == ["begin", "finish", "begin", "finish"]


DELAYS = [(1, HOUR), (2, 2 * HOUR), (3, 4 * HOUR), (5, 16 * HOUR), (6, DAY), (2000, DAY)]


@pytest.mark.parametrize(("failures", "delay"), DELAYS)
def test_failures_back_off_from_an_hour_to_a_day(failures: int, delay: float) -> None:
    """Doubling."""
    assert retry_delay(failures) == delay


def test_the_back_off_survives_a_restart_and_ends_with_a_success(world: World) -> None:
    """Rate limits do not forget either."""
    world.authority.fails = AcmeError("rateLimited")
    for wait in (HOUR, 2 * HOUR):
        world.attend()
        world.restart()
        world.authority.now += wait - 1
        assert not world.due()
        world.authority.now += 1
    assert world.certificates.failures[NAME].failures == 2
    world.authority.fails = None
    world.attend()
    assert world.certificates.failures == {}
    world.restart()
    assert world.certificates.failures == {}


def test_the_old_certificate_stays_while_its_renewal_fails(world: World) -> None:
    """It is valid for a third of its life yet."""
    world.attend()
    world.authority.now += 61 * DAY
    world.authority.fails = AcmeError("the server is away")
    world.attend()
    assert len(world.obtained) == 1
    assert world.certificates.certificates[NAME] == world.obtained[0][1]


def test_nothing_is_ordered_for_a_name_without_an_address(world: World) -> None:
    """Nor is it called a failure; its address is looked for again, less and less often."""
    world.has_address = False
    for wait in (60.0, 120.0, 240.0):
        world.attend()
        world.authority.now += wait - 1
        assert not world.due()
        world.authority.now += 1
    assert world.authority.calls == []
    assert world.certificates.failures == {}
    world.has_address = True
    world.attend()
    assert world.obtained


def test_a_reload_looks_for_addresses_at_once(world: World) -> None:
    """An administrator who has just published the CNAME need not wait."""
    world.has_address = False
    world.attend()
    assert not world.due()
    world.certificates.look_again()
    assert world.due()


@pytest.fixture
def threads(world: World) -> Iterator[World]:
    threads = [threading.Thread(target=world.certificates.run) for _ in range(4)]
    for thread in threads:
        thread.start()
    yield world
    world.certificates.stop()
    for thread in threads:
        thread.join(30)


def test_one_name_is_ordered_by_one_thread(threads: World) -> None:
    """However many there are."""
    threads.authority.hangs = threading.Event()
    threads.certificates.want([NAME])
    wait_until(lambda: "finish 1" in threads.authority.calls, "an order is under way")
    threads.authority.hangs.set()
    wait_until(lambda: bool(threads.obtained), "a certificate is there")
    assert threads.authority.calls == [f"begin {NAME}", "finish 1"]


def test_a_name_that_is_wanted_no_more_is_renewed_no_more(threads: World) -> None:
    """Only what is served needs a certificate."""
    threads.certificates.want([])
    threads.certificates.want(["mta-sts.other.example"])
    wait_until(lambda: bool(threads.obtained), "the other name has a certificate")
    assert [name for name, _ in threads.obtained] == ["mta-sts.other.example"]


@pytest.mark.parametrize("folder", ["orders", "failures", "certificates"])
def test_damaged_state_is_set_aside(folder: str, world: World) -> None:
    """And the name begins anew."""
    world.attend()
    for file in (world.folder / folder).iterdir():
        file.write_text("{")
    (world.folder / folder / f"{NAME}.json").write_text(json.dumps({"unknown": 1}))
    world.restart()
    assert world.certificates.due(NAME, world.authority.now) is (folder == "certificates")
