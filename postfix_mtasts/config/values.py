"""One value of the configuration file: from its text to what Settings holds.

A reader takes the text and the setting's metadata (settings.setting) and
raises ValueError("what is wrong; what would be right"). Texts that mean the
same come out equal: addresses in lower case, IPv6 compressed, a resolver with
its port. Where a value stands in the file is file.py's business.
"""

from __future__ import annotations

import grp
import importlib.util
import ipaddress
import os.path
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from ..core.quoting import quote

Limits: TypeAlias = Mapping[str, Any]

_UNITS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}  # in milliseconds, the largest first
# No leading zero: YAML takes 010 for 8. Twelve digits are more than any range needs.
_DURATION = re.compile(r"((?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,6})?)(ms|[smhd])?")
_INT = re.compile(r"0|[1-9][0-9]{0,11}")
_MODE = re.compile(r"0?[0-7]{3}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)*(?!\d+$){_LABEL}")  # a last label of digits would be half an IPv4 address
_INET = re.compile(r"inet:(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):([0-9]+)")
_HTTPS_URL = re.compile(r"https://(\[[0-9A-Fa-f:.]+\]|[^/:@\s\[\]]+)(?::[0-9]{1,5})?(?:/[!-~]*)?")
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@([A-Za-z0-9.-]{1,253})")
_SERVER = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+):([0-9]+)")
_MAP_NAME = re.compile(r"[!-~]{1,100}")  # visible ASCII
_MAIN_CF_ENDS = re.compile(r"[\s,{}$]")  # what ends a table's name in main.cf, or begins a parameter's
_PATH_LIMIT = 4096  # bytes, PATH_MAX

SECRET_LIMIT = 4096  # bytes of a password or key, newline included

_PROXY_FORMS = "write http://HOST:PORT or socks5h://HOST:PORT"
_PROXY_URL = re.compile(r"(http|socks5h)://(\[[0-9A-Fa-f:.]+\]|[^/:@\s\[\]]+):([0-9]{1,5})/?")
_SHARED_FORMS = "write redis://HOST:PORT/DB, rediss://USER@HOST:PORT/DB or unix:///PATH"
_ADDRESS_FORMS = "inet:HOST:PORT, inet:[IPV6]:PORT or unix:/absolute/path"


def parse_duration(text: str, limits: Limits) -> float:
    """Seconds, no finer than a millisecond."""
    match = _DURATION.fullmatch(text)
    if match:
        milliseconds = Decimal(match[1]) * _UNITS[match[2] or "s"]
        seconds = int(milliseconds) / 1000
        if milliseconds == int(milliseconds) and limits["low"] <= seconds <= limits["high"]:
            return seconds
    low, high = duration_text(limits["low"]), duration_text(limits["high"])
    raise ValueError(
        f"{quote(text)} is not a duration from {low} to {high}; write it as 250ms, 30s, 5m, 12h, 7d or plain seconds"
    )


def duration_text(seconds: float) -> str:
    """The shortest text that parse_duration reads as *seconds* again: 15s, 5m, 1d."""
    milliseconds = round(seconds * 1000)
    if milliseconds == 0:
        return "0s"
    unit, size = next((unit, size) for unit, size in _UNITS.items() if milliseconds % size == 0)
    return f"{milliseconds // size}{unit}"


def parse_int(text: str, limits: Limits) -> int:
    """A plain whole number."""
    low, high = limits["low"], limits["high"]
    if not _INT.fullmatch(text) or not low <= int(text) <= high:
        raise ValueError(f"{quote(text)} is out of range; write a whole number from {low} to {high}")
    return int(text)


def parse_choice(text: str, limits: Limits) -> str:
    """One of a few words."""
    if text not in limits["choices"]:
        raise ValueError(f"{quote(text)} is not known; write {' or '.join(limits['choices'])}")
    return text


def parse_mode(text: str, limits: Limits) -> int:
    """Permissions in octal."""
    if not _MODE.fullmatch(text):
        raise ValueError(f'{quote(text)} is not a mode; write octal digits in quotes, such as "0660"')
    return int(text, 8)


def parse_group(text: str, limits: Limits) -> str:
    """A group that this system knows."""
    try:
        grp.getgrnam(text)
    except (KeyError, ValueError):  # ValueError: a NUL or half a surrogate pair in it
        raise ValueError(
            f"there is no group {quote(text)} on this system; name one that `getent group` lists"
        ) from None
    return text


def parse_path(text: str, limits: Limits) -> str:
    """An absolute path, without needless slashes and dots."""
    if not (text.startswith("/") and text.isprintable() and len(text.encode()) < _PATH_LIMIT):
        raise ValueError(f"{quote(text)} is not an absolute path; write one such as /var/lib/name")
    if ".." in text.split("/"):  # where it leads depends on symbolic links
        raise ValueError(f"{quote(text)} holds '..'; write the path without it")
    return os.path.normpath("/" + text.lstrip("/"))


def parse_ca_file(text: str, limits: Limits) -> str:
    """A file with CA certificates that can be loaded now."""
    import ssl  # few name a file, and all commands read the configuration

    path = parse_path(text, limits)
    wanted = "name a readable file of PEM certificates, or null for the system's"
    if not os.path.isfile(path):  # and no pipe to wait for
        raise ValueError(f"there is no file {quote(path)}; {wanted}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"{quote(path)} holds no CA certificates; {wanted}") from None
    except OSError as error:
        raise ValueError(f"{quote(path)} cannot be read: {error.strerror}; {wanted}") from None
    return path


def parse_secret_file(text: str, limits: Limits) -> str:
    """A file that holds a password or a key, and can be read now."""
    path = parse_path(text, limits)
    wanted = f"name a readable file of 1 to {SECRET_LIMIT} bytes"
    if not os.path.isfile(path):
        raise ValueError(f"there is no file {quote(path)}; {wanted}")
    try:
        read_secret(path)
    except OSError as error:
        raise ValueError(f"{quote(path)} cannot be read: {error.strerror}; {wanted}") from None
    except ValueError as wrong:
        raise ValueError(f"{quote(path)} {wrong}; {wanted}") from None
    return path


def read_secret(path: str) -> bytes:
    """Return what a file holds, without the newline at its end. Raises: OSError, ValueError where it is no secret."""
    with open(path, "rb") as file:
        secret = file.read(SECRET_LIMIT + 1)
    if len(secret) > SECRET_LIMIT:
        raise ValueError("is too long")
    if not (secret := secret.rstrip(b"\r\n")):
        raise ValueError("is empty")
    return secret


def parse_shared_url(text: str, limits: Limits) -> str:
    """The URL of a Valkey or Redis server. No fault repeats it: it may hold a password."""
    try:
        parts = urlsplit(text)
        options = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
        _ = parts.port
    except ValueError:
        raise ValueError(f"is not a URL; {_SHARED_FORMS}") from None
    if parts.scheme not in ("redis", "rediss", "unix") or not text.isprintable() or " " in text or parts.fragment:
        raise ValueError(f"is not the URL of a Redis; {_SHARED_FORMS}")
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.path == "/":
            raise ValueError(f"names no socket; {_SHARED_FORMS}")
    elif not parts.hostname or not re.fullmatch(r"(/[0-9]{0,5})?", parts.path):
        raise ValueError(f"names no server, or no database by its number; {_SHARED_FORMS}")
    allowed = {"unix": ("db",), "redis": (), "rediss": ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")}[parts.scheme]
    if any(name not in allowed or not value for name, value in options):
        raise ValueError(f"has an option that is not known here; leave all out but {', '.join(allowed) or 'none'}")
    if any(name == "db" and not re.fullmatch(r"[0-9]{1,5}", value) for name, value in options):
        raise ValueError("names a database that is not a number; write db=0")
    if importlib.util.find_spec("redis") is None:
        raise ValueError("needs the library redis; install python3-redis, or postfix-mtasts[redis] with pip")
    return text


def parse_proxy_url(text: str, limits: Limits) -> str:
    """A proxy's URL. No fault repeats it: it may hold a password."""
    if "@" in text:
        raise ValueError(
            f"holds credentials; write USER:PASSWORD into a file, name it in fetch.proxy_password_file, {_PROXY_FORMS}"
        )
    match = _PROXY_URL.fullmatch(text)
    host = match and (_ip(match[2]) or (match[2].lower() if len(match[2]) <= 253 and _HOST.fullmatch(match[2]) else ""))
    if not match or not host:
        raise ValueError(f"is not the URL of a proxy; {_PROXY_FORMS}")
    port = _port(match[3])
    if match[1] == "socks5h" and importlib.util.find_spec("socks") is None:
        raise ValueError("needs the library PySocks; install python3-socks, or postfix-mtasts[socks] with pip")
    return f"{match[1]}://{host}:{port}"


def parse_login_file(text: str, limits: Limits) -> str:
    """A file that holds USER:PASSWORD, and can be read now."""
    path = parse_secret_file(text, limits)
    try:
        read_login(path)
    except (OSError, ValueError):
        raise ValueError(f"{quote(path)} does not hold one line USER:PASSWORD; write it so") from None
    return path


def read_login(path: str) -> tuple[str, str]:
    """Return user and password. Raises: OSError, ValueError where the file holds something else."""
    text = read_secret(path).decode()
    user, colon, password = text.partition(":")
    if not user or not colon or not text.isprintable():
        raise ValueError("does not hold one line USER:PASSWORD")
    return user, password


def shown_url(text: str) -> str:
    """Return *text* with the password replaced by asterisks."""
    parts = urlsplit(text)
    if parts.password is None:
        return text
    user, _, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}:***@{host}"))


def parse_prefix(text: str, limits: Limits) -> str:
    """What keys begin with: it stands in patterns and access rules too."""
    if not re.fullmatch(r"[A-Za-z0-9:._-]{1,64}", text):
        raise ValueError(f"{quote(text)} cannot begin keys; write 1 to 64 letters, digits, ':', '.', '_' or '-'")
    return text


def parse_listen(text: str, limits: Limits) -> str:
    """An address that Postfix connects to, by TCP or by a unix socket."""
    return _parse_unix(text) if text.startswith("unix:") else _parse_inet(text, _ADDRESS_FORMS)


def parse_inet(text: str, limits: Limits) -> str:
    """A TCP address."""
    return _parse_inet(text, "inet:HOST:PORT or inet:[IPV6]:PORT")


def _parse_inet(text: str, forms: str) -> str:
    match = _INET.fullmatch(text)
    if not match:
        raise ValueError(f"{quote(text)} is not an address; write {forms}")
    host = _ip(match[1]) or (match[1].lower() if len(match[1]) <= 253 and _HOST.fullmatch(match[1]) else None)
    if host is None:
        raise ValueError(f"{quote(match[1])} is neither an IP address nor a host name; write {forms}")
    return f"inet:{host}:{_port(match[2])}"


def _parse_unix(text: str) -> str:
    path = text.removeprefix("unix:")
    if _MAIN_CF_ENDS.search(path):  # Postfix could not be told of it
        raise ValueError(f"{quote(path)} cannot stand in main.cf; use a path without blanks, commas, braces and $")
    if path.endswith(("/", "/.")):
        raise ValueError(f"{quote(path)} is a directory; name the socket in it")
    return f"unix:{parse_path(path, {})}"


def parse_server(text: str, limits: Limits) -> str:
    """A resolver as ADDRESS:PORT or [IPV6]:PORT; port 53 where the text has none."""
    match = _SERVER.fullmatch(text)
    address, port = (match[1], match[2]) if match else (text, "53")
    ip = _ip(address) or _ip(f"[{address}]")
    if ip is None:
        raise ValueError(
            f"{quote(text)} is not a resolver's IP address; write one such as 127.0.0.1:53, ::1 or '[::1]:53'"
        )
    return f"{ip}:{_port(port)}"


def parse_map_name(text: str) -> str:
    """A name that can be the last word of socketmap:ADDRESS:NAME in main.cf."""
    if not _MAP_NAME.fullmatch(text) or ":" in text or _MAIN_CF_ENDS.search(text):
        raise ValueError(
            f"{quote(text)} is a name that main.cf cannot hold; use letters, digits, '-', '_' and '.', 100 at most"
        )
    return text


def parse_host(text: str, limits: Limits) -> str:
    """A host name of two labels or more, in lower case."""
    if len(text) > 253 or "." not in text or not _HOST.fullmatch(text):
        raise ValueError(f"{quote(text)} is not a host name; write one such as reports.example.org")
    return text.lower()


def parse_https_url(text: str, limits: Limits) -> str:
    """An address that begins with https://."""
    match = _HTTPS_URL.fullmatch(text)
    if match is None or not (_ip(match[1]) or _HOST.fullmatch(match[1])):
        raise ValueError(f"{quote(text)} is not an HTTPS address; write one such as https://acme.example.org/directory")
    return text


def parse_mail_address(text: str, limits: Limits) -> str:
    """A plain mail address."""
    match = _MAIL_ADDRESS.fullmatch(text)
    if match is None or not _HOST.fullmatch(match[1]):
        raise ValueError(f"{quote(text)} is not a mail address; write one such as postmaster@example.org")
    return text


def parse_rua(text: str, limits: Limits) -> str:
    """A URI that TLS reports are sent to (RFC 8460 section 3)."""
    scheme, _, rest = text.partition(":")
    try:
        if scheme == "mailto":
            parse_mail_address(rest, limits)
        else:
            parse_https_url(text, limits)
    except ValueError:
        right = "write mailto:tlsrpt@example.org or https://reports.example.org/tlsrpt"
        raise ValueError(f"{quote(text)} is neither a mailto: nor an https: URI; {right}") from None
    return text


def _ip(host: str) -> str | None:
    """IPv4, or IPv6 in brackets, in its usual spelling; None for anything else, zones (%eth0) included."""
    try:
        if host.startswith("[") and "%" not in host:
            return f"[{ipaddress.IPv6Address(host[1:-1])}]"
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        return None


def _port(text: str) -> int:
    if not _INT.fullmatch(text) or not 1 <= int(text) <= 65535:
        raise ValueError(f"port {quote(text)} does not exist; write one from 1 to 65535")
    return int(text)


READERS: Mapping[str, Callable[[str, Limits], object]] = {
    "duration": parse_duration,
    "int": parse_int,
    "choice": parse_choice,
    "mode": parse_mode,
    "group": parse_group,
    "path": parse_path,
    "ca_file": parse_ca_file,
    "inet": parse_inet,
    "listen": parse_listen,
    "servers": parse_server,
    "host": parse_host,
    "https_url": parse_https_url,
    "mail_address": parse_mail_address,
    "rua": parse_rua,
    "shared_url": parse_shared_url,
    "secret_file": parse_secret_file,
    "prefix": parse_prefix,
    "proxy_url": parse_proxy_url,
    "login_file": parse_login_file,
}
