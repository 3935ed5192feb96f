"""process/listeners.py: addresses bound, stale sockets replaced, and nobody else's ever touched."""

from __future__ import annotations

import grp
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from postfix_mtasts.config.settings import Settings
from postfix_mtasts.errors import ListenError
from postfix_mtasts.process.listeners import SUN_PATH_LIMIT, Bound, SocketFile, bind, holds, short, split_inet

SETTINGS = Settings(socket_mode=0o640)


@contextmanager
def closed(bound: Bound) -> Iterator[Bound]:
    """Close all of it at the end."""
    yield bound
    for sock in bound.socks:
        sock.close()
    if bound.file is not None:
        with suppress(OSError):  # closed by the test
            bound.file.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "socketmap"


@pytest.fixture
def there(path: Path) -> Iterator[socket.socket]:
    """A socket at `path`, bound, not yet listening."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        yield sock


@pytest.mark.parametrize(
    ("address", "want"),
    [
        ("inet:127.0.0.1:8462", ("127.0.0.1", 8462)),
        ("127.0.0.1:53", ("127.0.0.1", 53)),
        ("inet:[::1]:8462", ("::1", 8462)),
        ("[fe80::1%eth0]:53", ("fe80::1%eth0", 53)),
        ("inet:localhost:1", ("localhost", 1)),
    ],
)
def test_host_and_port(address: str, want: tuple[str, int]) -> None:
    """Brackets belong to the spelling of an address, not to it."""
    assert split_inet(address) == want


def test_a_unix_socket_has_its_mode(path: Path) -> None:
    """Whatever the umask is."""
    before = os.umask(0o077)
    try:
        bound = bind(f"unix:{path}", SETTINGS)
    finally:
        os.umask(before)
    with closed(bound):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert os.umask(before) == before


def test_a_unix_socket_has_its_group(path: Path) -> None:
    """By name."""
    group = grp.getgrgid(os.getgid()).gr_name
    with closed(bind(f"unix:{path}", Settings(socket_group=group))) as bound:
        assert path.stat().st_gid == os.getgid()
        assert bound.file is not None
        bound.file.set_permissions(SETTINGS)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_an_unknown_group(path: Path) -> None:
    """It is named."""
    with pytest.raises(ListenError, match="socket_group: there is no group no-such-group"):
        bind(f"unix:{path}", Settings(socket_group="no-such-group"))
    assert not path.exists()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    """What a killed daemon leaves behind."""
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))
    with closed(bind(f"unix:{path}", SETTINGS)) as bound:
        bound.socks[0].listen()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize("backlog", [5, 0], ids=["idle", "with a full backlog"])
def test_a_living_socket_is_left_alone(path: Path, there: socket.socket, backlog: int) -> None:
    """Whether or not it can take one more."""
    there.listen(backlog)
    clients = [socket.socket(socket.AF_UNIX) for _ in range(3 if backlog == 0 else 0)]
    for client in clients:
        client.setblocking(False)
        client.connect_ex(str(path))
    inode = path.stat().st_ino
    with pytest.raises(ListenError, match="another process listens there"):
        bind(f"unix:{path}", SETTINGS)
    assert path.stat().st_ino == inode
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, tmp_path: Path, kind: str) -> None:
    """A mistyped path costs nobody a file."""
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "target")
    with pytest.raises(ListenError, match="a file that is not a socket is there"):
        bind(f"unix:{path}", SETTINGS)
    assert os.path.lexists(path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    """The address and the reason."""
    with pytest.raises(ListenError, match=r"unix:.*/none/socketmap: No such file or directory"):
        bind(f"unix:{tmp_path}/none/socketmap", SETTINGS)


def test_a_port_in_use() -> None:
    """The address and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError, match=f"inet:127.0.0.1:{port}: Address already in use"):
            bind(f"inet:127.0.0.1:{port}", SETTINGS)


def test_a_deep_path(tmp_path: Path) -> None:
    """A socket address holds 107 bytes; a path may be longer."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with closed(bind(f"unix:{deep}/socketmap", SETTINGS)) as bound:
        bound.socks[0].listen()
        with short(deep / "socketmap") as name, socket.socket(socket.AF_UNIX) as client:
            assert len(name) <= SUN_PATH_LIMIT < len(str(deep))
            client.connect(name)


def test_a_short_path_is_itself(path: Path) -> None:
    """Up to the limit, in bytes."""
    with short(Path("/" + "é" * 53)) as name:
        assert name == "/" + "é" * 53
    with short(path) as name:
        assert name == str(path)


def test_only_our_own_socket_is_removed(path: Path, there: socket.socket) -> None:
    """Once; one that is gone already is nothing to speak of."""
    file = SocketFile(path)
    assert file.in_place()
    file.remove()
    assert not path.exists()
    there.close()
    with socket.socket(socket.AF_UNIX) as again:
        again.bind(str(path))
        file = SocketFile(path)
    path.unlink()
    file.remove()


def a_file(path: Path, target: Path) -> None:
    path.write_text("precious")


def a_link(path: Path, target: Path) -> None:
    target.write_text("precious")
    target.chmod(0o600)
    path.symlink_to(target)


def another_socket(path: Path, target: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
    path.chmod(0o600)


def nothing(path: Path, target: Path) -> None:
    pass


@pytest.mark.parametrize("replace", [a_file, a_link, another_socket, nothing])
def test_what_stands_in_its_place_later_is_left_alone(
    replace: Callable[[Path, Path], None], path: Path, tmp_path: Path
) -> None:
    """Mode and owner are those of the file that was bound, wherever it is now; a link's target keeps its own."""
    with closed(bind(f"unix:{path}", SETTINGS)) as bound:
        assert bound.file is not None
        path.rename(tmp_path / "moved")
        replace(path, tmp_path / "target")
        before = [os.lstat(file) for file in (path, tmp_path / "target") if os.path.lexists(file)]
        assert not bound.file.in_place()
        bound.file.set_permissions(Settings(socket_mode=0o666))
        assert stat.S_IMODE((tmp_path / "moved").stat().st_mode) == 0o666
        bound.file.remove()
        assert [os.lstat(file) for file in (path, tmp_path / "target") if os.path.lexists(file)] == before


@pytest.mark.parametrize("replace", [a_file, a_link])
def test_what_is_bound_is_checked(
    replace: Callable[[Path, Path], None], path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who may write to the directory cannot have us change the mode of another file."""

    class Replaced(socket.socket):
        def bind(self, name: object) -> None:
            super().bind(name)  # type: ignore[arg-type]
            path.unlink()
            replace(path, tmp_path / "target")

    monkeypatch.setattr(socket, "socket", Replaced)
    with pytest.raises(ListenError, match="somebody else replaces the socket"):
        bind(f"unix:{path}", Settings(socket_mode=0o777))
    assert stat.S_IMODE(os.stat(path).st_mode) != 0o777
    path.chmod(0o600)  # made while our umask counted, nobody but root may read it
    assert path.read_text() == "precious"


HOLDERS: list[tuple[str, str, str, bool]] = [  # what listens, at which address, an address, whether that is held
    ("the same", "127.0.0.1", "inet:127.0.0.1:PORT", True),
    ("another port", "127.0.0.1", "inet:127.0.0.1:1", False),
    ("another address", "127.0.0.2", "inet:127.0.0.1:PORT", False),
    ("every address of the family", "0.0.0.0", "inet:127.0.0.1:PORT", True),
    ("every address of the other family", "0.0.0.0", "inet:[::1]:PORT", False),
    ("every address of IPv6 alone", "::", "inet:127.0.0.1:PORT", False),
    ("every address of both", "both", "inet:127.0.0.1:PORT", True),
    ("every address of both, and IPv6", "both", "inet:[::1]:PORT", True),
    ("an internet socket, and a path", "127.0.0.1", "unix:/run/socketmap", False),
]


@pytest.mark.parametrize(("title", "where", "address", "held"), HOLDERS, ids=[row[0] for row in HOLDERS])
def test_what_a_listening_socket_holds(title: str, where: str, address: str, held: bool) -> None:
    """An address that it takes the connections of cannot be bound beside it."""
    family = socket.AF_INET6 if where in ("::", "both") else socket.AF_INET
    place = ("::" if where == "both" else where, 0)
    with socket.create_server(place, family=family, dualstack_ipv6=where == "both") as sock:
        assert holds(sock, address.replace("PORT", str(sock.getsockname()[1]))) is held


def test_a_path_is_held_under_whatever_name(path: Path, tmp_path: Path, there: socket.socket) -> None:
    """As /var/run is a link to /run."""
    (tmp_path / "link").symlink_to(tmp_path)
    assert holds(there, f"unix:{tmp_path}/link/socketmap")
    assert not holds(there, f"unix:{tmp_path}/other")
    assert not holds(there, "inet:127.0.0.1:8462")
