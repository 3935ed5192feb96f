"""The certificates of the policy hosts, ordered before they are missed.

One certificate (ECDSA P-256) for each name. A name is due when it has no
certificate, or when two thirds of its certificate's life are over, whatever
that life is. A few threads order what is due; an order, a certificate and a
failure are on the disk before anything is built on them.

Rule 1: an order that was begun is gone on with, after a restart too: a second
        one would count against the server's rate limits.
Rule 2: failures back off from an hour to a day, over restarts.
Rule 3: the old certificate stays in use until the new one is on the disk.
Rule 4: nothing is ordered for a name without an address: the server could
        not reach it, and the failure would count.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509

from ..adapters.files import StateFolder, make_private, write_whole
from ..core.publication import Order
from ..core.quoting import KV
from ..errors import AcmeError

log = logging.getLogger(__name__)

LOOK_EVERY = 5.0  # seconds between two looks for names that are due
RENEW_AFTER = 2 / 3  # of a certificate's life
FIRST_RETRY, LAST_RETRY = 3_600.0, 86_400.0  # seconds after a failure
FIRST_ADDRESS_LOOK, LAST_ADDRESS_LOOK = 60.0, 3_600.0  # seconds between two looks for a name's address
ORDER_PATIENCE = 120.0  # seconds for one order


class Authority(Protocol):
    """adapters.acme.AcmeServer, as far as this module needs it."""

    def begin(self, name: str) -> Order: ...
    def answers(self, order: Order) -> dict[str, str]: ...
    def finish(self, order: Order, seconds: float) -> str: ...


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, as TLS needs them."""

    pem: bytes  # the key, then the chain
    not_before: float  # UTC seconds
    not_after: float

    @property
    def renew_at(self) -> float:
        """UTC seconds: two thirds of its life are over."""
        return self.not_before + (self.not_after - self.not_before) * RENEW_AFTER


def read_certificate(pem: bytes) -> Certificate:
    """Read a key and chain in one PEM text. Raises: ValueError."""
    leaf = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE-----") :])
    return Certificate(pem, _seconds(leaf, "not_valid_before"), _seconds(leaf, "not_valid_after"))


def _seconds(leaf: x509.Certificate, name: str) -> float:
    """UTC seconds; cryptography before 42 has naive times only."""
    moment = getattr(leaf, f"{name}_utc", None) or getattr(leaf, name).replace(tzinfo=UTC)
    return float(moment.timestamp())


def retry_delay(failures: int) -> float:
    """Return the seconds to wait after the *failures*th failure in a row (from 1)."""
    return min(FIRST_RETRY * 2.0 ** min(failures - 1, 20), LAST_RETRY)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a name has no new certificate, and when it is tried again."""

    failures: int
    retry_at: float  # UTC seconds
    reason: str


class Certificates:
    """All names' certificates, and the threads that order what is due."""

    def __init__(
        self,
        folder: Path,
        authority: Authority,
        has_address: Callable[[str], bool],
        wall: Callable[[], float],
        changed: Callable[[str, Certificate], None],
    ) -> None:
        """*changed* is called, in a thread, with each new certificate. Raises: OSError."""
        self._authority, self._has_address, self._wall, self._changed = authority, has_address, wall, changed
        self._pem_folder = make_private(folder / "certificates")
        self._order_folder, self._failure_folder = StateFolder(folder / "orders"), StateFolder(folder / "failures")
        self.certificates: dict[str, Certificate] = self._load()
        self.failures = dict(self._failure_folder.rows(Failure))
        self._orders = dict(self._order_folder.rows(Order))
        self.challenges: dict[str, str] = {}  # token -> key authorization, for port 80
        self._addressless: dict[str, tuple[int, float]] = {}  # name -> looks so far, when to look again
        self._wanted: frozenset[str] = frozenset()
        self._busy: set[str] = set()
        self._lock = threading.Condition()
        self._stopped = False

    def _load(self) -> dict[str, Certificate]:
        found = {}
        for path in self._pem_folder.glob("*.pem"):
            try:
                found[path.stem] = read_certificate(path.read_bytes())
            except ValueError as error:
                log.error("certificate-unreadable %s", KV(file=path, reason=error))
        return found

    def want(self, names: Iterable[str]) -> None:
        """Keep certificates for *names*, and for no other from now on."""
        with self._lock:
            self._wanted = frozenset(names)
            self._lock.notify_all()

    def stop(self) -> None:
        """End `run` soon; what is under way goes on at the next start."""
        with self._lock:
            self._stopped = True
            self._lock.notify_all()

    def due(self, name: str, now: float) -> bool:
        """Tell whether *name* needs an order begun, or gone on with, at *now*."""
        failure = self.failures.get(name)
        if failure is not None and now < failure.retry_at:
            return False
        _, look_at = self._addressless.get(name, (0, 0.0))
        if now < look_at:
            return False
        held = self.certificates.get(name)
        return name in self._orders or held is None or now >= held.renew_at

    def run(self) -> None:
        """Order what is due until `stop`; any number of threads may do so."""
        while (name := self._next()) is not None:
            try:
                self.attend(name)
            finally:
                with self._lock:
                    self._busy.discard(name)

    def attend(self, name: str) -> None:
        """Begin an order for *name*, or go on with the one under way; a failure is kept, never raised."""
        try:
            self._obtain(name)
        except AcmeError as error:
            self._failed(name, str(error), error.gone)
        except OSError as error:
            self._failed(name, f"cannot be written: {error}", gone=False)
        except Exception as error:
            log.exception("internal-error %s", KV(part="certificates", name=name))
            self._failed(name, f"internal error: {type(error).__name__}", gone=False)

    def _next(self) -> str | None:
        """Wait for a name that is due, and take it; None: stopped."""
        with self._lock:
            while not self._stopped:
                now = self._wall()
                for name in sorted(self._wanted - self._busy):
                    if self.due(name, now):
                        self._busy.add(name)
                        return name
                self._lock.wait(LOOK_EVERY)
            return None

    def _obtain(self, name: str) -> None:
        order = self._orders.get(name)
        if order is None:
            if not self._reachable(name):
                return
            order = self._authority.begin(name)
            self._order_folder.save(name, asdict(order))
            self._orders[name] = order
            log.info("certificate-ordered %s", KV(name=name))
        answers = self._authority.answers(order)
        self.challenges |= answers
        try:
            chain = self._authority.finish(order, ORDER_PATIENCE)
        finally:
            for token in answers:
                self.challenges.pop(token, None)
        self._take(name, read_certificate(order.key.encode() + chain.encode()))

    def _reachable(self, name: str) -> bool:
        """Whether *name* has an address; if not, look again later, and do not call it a failure."""
        if self._has_address(name):
            self._addressless.pop(name, None)
            return True
        looks, _ = self._addressless.get(name, (0, 0.0))
        wait = min(FIRST_ADDRESS_LOOK * 2.0 ** min(looks, 20), LAST_ADDRESS_LOOK)
        self._addressless[name] = looks + 1, self._wall() + wait
        if not looks:
            log.warning("no-address-yet %s", KV(name=name, reason="no certificate is ordered before it has one"))
        return False

    def look_again(self) -> None:
        """Ask at once again for the addresses of names that had none, as after a reload."""
        with self._lock:
            self._addressless.clear()
            self._lock.notify_all()

    def _take(self, name: str, certificate: Certificate) -> None:
        write_whole(self._pem_folder / f"{name}.pem", certificate.pem)
        self.certificates[name] = certificate
        self._order_folder.remove(name)
        self._orders.pop(name, None)
        if self.failures.pop(name, None) is not None:
            self._failure_folder.remove(name)
        log.info("certificate-obtained %s", KV(name=name, ends=certificate.not_after))
        self._changed(name, certificate)

    def _failed(self, name: str, reason: str, gone: bool) -> None:
        old = self.failures.get(name)
        count = (old.failures if old is not None else 0) + 1
        failure = Failure(count, self._wall() + retry_delay(count), reason[:300])
        self.failures[name] = failure
        log.warning("certificate-failed %s", KV(name=name, reason=reason, failures=count, retry_at=failure.retry_at))
        try:
            self._failure_folder.save(name, asdict(failure))
            if gone and self._orders.pop(name, None) is not None:
                self._order_folder.remove(name)
        except OSError as error:
            log.error("state-unwritten %s", KV(name=name, reason=error))

    def state_of(self, name: str) -> dict[str, Any]:
        """What `publish list` and the dashboard show of *name*."""
        held, failure = self.certificates.get(name), self.failures.get(name)
        return {
            "not_after": held.not_after if held is not None else None,
            "failure": failure.reason if failure is not None else None,
            "retry_at": failure.retry_at if failure is not None else None,
        }
