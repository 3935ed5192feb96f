"""The shared store in a Valkey or Redis server, over redis-py.

Keys, all behind the prefix:

    p:DOMAIN   a hash: t (time of the row, UTC seconds), r (text), s (signature)
    l:DOMAIN   the lease for a refresh: who holds it
    content    a name for all of it, which is lost with it
    changes    the channel on which a domain is named whose row changed

Rule 1: the server decides which of two rows counts, in one script: the later
        time. A time later than the server's clock by more than a minute is a
        wrong clock's, and loses to anything. The script's first write is the
        row itself: a full server refuses no more than the first.
Rule 2: what the server has is read in bounded pieces, and a key of another
        type is a bad row, not an error.
Rule 3: no message of ours holds credentials, and TLS is always verified.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ...config.settings import SharedSettings
from ...config.values import read_secret, shown_url
from ...core.entry import Entry
from ...core.names import Domain, parse_domain
from ...core.ports import Lease, SharedRow, Withdrawn
from ...errors import DomainError, SharedError
from . import signed
from .rows import ROW_LIMIT

AT_ONCE = 50  # rows in one exchange
MESSAGES = 500  # changes told at once
PING_EVERY = 3.0  # seconds; the pong says that the channel is still there
SILENCE = 10.0  # seconds without a word on the channel, pongs included, that count as a broken connection

_OFFER = """
local old = redis.pcall('HGET', KEYS[1], 't')
local now = tonumber(redis.call('TIME')[1])
local had = type(old) == 'string' and tonumber(old)
if had and had <= now + 60 and had >= tonumber(ARGV[1]) then return 0 end
if type(old) == 'table' then redis.call('DEL', KEYS[1]) end
redis.call('HSET', KEYS[1], 't', ARGV[1], 'r', ARGV[2], 's', ARGV[3])
redis.call('PEXPIREAT', KEYS[1], ARGV[4])
redis.call('PUBLISH', ARGV[5], ARGV[6])
return 1
"""
_GET = """
local rows = {}
for i, key in ipairs(KEYS) do
  local size = redis.pcall('HSTRLEN', key, 'r')
  if type(size) ~= 'number' then rows[i] = {'', 0, 0}
  elseif size == 0 then rows[i] = redis.call('EXISTS', key) == 1 and {'', 0, 0} or {}
  elseif size > tonumber(ARGV[1]) or redis.call('HSTRLEN', key, 's') > 64 then rows[i] = {'', 0, 0}
  else
    local row = redis.call('HMGET', key, 'r', 's')
    rows[i] = {'', row[1], row[2]}
  end
end
return rows
"""
_LEASE = """
local held = redis.pcall('HGET', KEYS[2], 't')
local now = tonumber(redis.call('TIME')[1])
local had = type(held) == 'string' and tonumber(held)
if had and had <= now + 60 and had > tonumber(ARGV[3]) then return 'newer' end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 'granted' end
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'taken' end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'granted'
"""
_RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

T = TypeVar("T")


class ValkeyShared:
    """Implements core.ports.Shared. Connects at the first call, and again after each failure."""

    def __init__(self, settings: SharedSettings) -> None:
        self._settings, self._url, self._prefix = settings, settings.url or "", settings.prefix
        self._own = secrets.token_hex(8)  # who we are, in leases and on the channel
        self._lock = threading.Lock()
        self._client: Any = None
        self._key: bytes | None = None
        self._heard_at = self._pinged_at = 0.0
        self._channel: Any = None  # redis-py's pub/sub connection, of the one thread that waits for changes

    # -- the port -----------------------------------------------------------------

    def check(self) -> str:
        def exchange(client: Any) -> str:
            pipe = client.pipeline(transaction=False)
            pipe.set(f"{self._prefix}content", secrets.token_hex(8), nx=True)
            pipe.get(f"{self._prefix}content")
            return str(_executed(pipe)[1])

        return self._do(exchange)

    def get(self, domains: Sequence[Domain]) -> list[SharedRow]:
        return [row for first in range(0, len(domains), AT_ONCE) for row in self._get(domains[first : first + AT_ONCE])]

    def _get(self, domains: Sequence[str]) -> list[SharedRow]:
        keys = [f"{self._prefix}p:{domain}" for domain in domains]
        rows = self._do(lambda client: client.eval(_GET, len(keys), *keys, ROW_LIMIT))
        return [
            signed.read(domain.encode("utf-8", "replace"), row[1], row[2] or b"", self._key)
            for domain, row in zip(domains, rows, strict=True)
            if row
        ]

    def offer(self, rows: Sequence[tuple[Entry | Withdrawn, float]]) -> None:
        def exchange(client: Any) -> None:
            pipe = client.pipeline(transaction=False)
            for row, until in rows:
                text, signature = signed.write(row, self._key)
                pipe.eval(
                    _OFFER,
                    1,
                    f"{self._prefix}p:{row.domain}",
                    repr(signed.time_of(row)),
                    text,
                    signature,
                    int(until * 1000),
                    f"{self._prefix}changes",
                    f"{self._own} {row.domain}",
                )
            _executed(pipe)

        self._do(exchange)

    def lease(self, domain: Domain, seconds: float, fetched_at: float) -> Lease:
        keys = f"{self._prefix}l:{domain}", f"{self._prefix}p:{domain}"
        milliseconds = max(1, int(seconds * 1000))
        told = self._do(lambda client: client.eval(_LEASE, 2, *keys, self._own, milliseconds, repr(fetched_at)))
        return Lease(str(told, "ascii"))

    def release(self, domain: Domain) -> None:
        self._do(lambda client: client.eval(_RELEASE, 1, f"{self._prefix}l:{domain}", self._own))

    def changes(self, seconds: float) -> list[Domain]:
        return self._do(lambda client: self._changes(client, seconds))

    def _changes(self, client: Any, seconds: float) -> list[Domain]:
        if self._channel is None:
            channel = client.pubsub()
            channel.subscribe(f"{self._prefix}changes")
            if channel.get_message(timeout=self._settings.timeout) is None:
                channel.close()
                raise redis.TimeoutError("the channel of changes does not begin")
            self._channel = channel
            self._heard_at = self._pinged_at = time.monotonic()
        if time.monotonic() >= self._pinged_at + PING_EVERY:
            self._pinged_at = time.monotonic()
            self._channel.ping()
        domains: dict[Domain, None] = {}
        message = self._channel.get_message(timeout=seconds)
        if message is None and time.monotonic() >= self._heard_at + SILENCE:
            raise redis.TimeoutError("the channel of changes says nothing any more")
        while message is not None and len(domains) < MESSAGES:
            self._heard_at = time.monotonic()
            if message["type"] == "message" and (domain := self._named(message["data"])) is not None:
                domains[domain] = None
            message = self._channel.get_message(timeout=0)
        return list(domains)

    def _named(self, message: bytes) -> Domain | None:
        """Return the domain that another daemon names; None for ours, and for what is not one."""
        who, _, name = message[: signed.NAME_LIMIT + 20].decode("ascii", "replace").partition(" ")
        try:
            return parse_domain(name) if who != self._own else None
        except DomainError:
            return None

    def rows(self) -> Iterator[list[SharedRow]]:
        start, cursor = f"{self._prefix}p:", 0
        while True:
            at = cursor
            cursor, keys = self._do(lambda client, at=at: client.scan(at, match=f"{start}*", count=200))  # type: ignore[misc]
            names = [key[len(start) :].decode("ascii", "replace") for key in keys if len(key) < 400]
            for first in range(0, len(names), AT_ONCE):
                yield self._get(names[first : first + AT_ONCE])
            if cursor == 0:
                return

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        channel, self._channel = self._channel, None
        for let_go in (channel.reset if channel else None, client and (lambda: _disconnect(client))):
            with contextlib.suppress(Exception):  # what is let go may be broken in any way
                if let_go is not None:
                    let_go()

    # -- connections ---------------------------------------------------------------

    def _do(self, exchange: Callable[[Any], T]) -> T:
        """Return what *exchange* does. Raises: SharedError."""
        try:
            return exchange(self._connected())
        except (redis.RedisError, OSError, ValueError, UnicodeError) as error:
            raise SharedError(self._sentence(error)) from None

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._key = _secret(self._settings.key_file, "shared.key_file")
                password = _secret(self._settings.password_file, "shared.password_file")
                options: dict[str, Any] = {"password": password.decode()} if password is not None else {}
                if self._url.startswith("rediss:"):
                    options |= {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
                if not self._url.startswith("unix:"):
                    options |= {"socket_connect_timeout": self._settings.timeout, "socket_keepalive": True}
                self._client = redis.Redis.from_url(
                    self._url, socket_timeout=self._settings.timeout, retry=Retry(NoBackoff(), 0), **options
                )
            return self._client

    def _sentence(self, error: Exception) -> str:
        """Say where and why, without credentials."""
        password = self._url.partition("://")[2].rpartition("@")[0].partition(":")[2]
        text = " ".join(str(error).split()) or type(error).__name__
        return f"{shown_url(self._url)}: {text.replace(password, '***') if password else text}"[:200]


def _executed(pipe: Any) -> list[Any]:
    """Return the answers to all of *pipe*. Raises: the first error, in the server's words: redis-py adds ours."""
    answers: list[Any] = pipe.execute(raise_on_error=False)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _disconnect(client: Any) -> None:
    """Let go of connections that nobody uses now; the others end with their exchange."""
    client.connection_pool.disconnect(inuse_connections=False)


def _secret(path: str | None, setting: str) -> bytes | None:
    """Raises: ValueError."""
    if path is None:
        return None
    try:
        return read_secret(path)
    except OSError as error:
        raise ValueError(f"{setting} {path} cannot be read: {error.strerror}") from None
