"""resolv.conf as the C library reads it (resolv.conf(5))."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postfix_mtasts.adapters.dns.resolvconf import Conf, ResolvConf, parse

RESOLV_CONFS = [
    ("none named", "# nameserver 192.0.2.9\n;\n\n", ("127.0.0.1:53",)),
    ("an IPv6 address", "nameserver ::1\n", ("[::1]:53",)),
    ("an address with a zone", "nameserver fe80::1%lo\n", ("[fe80::1%lo]:53",)),
    ("tabs, options, comments", "options edns0\nnameserver\t192.0.2.1 # x\n", ("192.0.2.1:53",)),
    ("what is no address", "nameserver localhost\nnameserver\nnameserver 192.0.2.1\n", ("192.0.2.1:53",)),
    (
        "three at most",
        "".join(f"nameserver 192.0.2.{n}\n" for n in range(1, 6)),
        ("192.0.2.1:53", "192.0.2.2:53", "192.0.2.3:53"),
    ),
    ("bytes that are no ASCII", "nameserver 192.0.2.1\nsearch m\xfcnchen\n", ("192.0.2.1:53",)),
]


@pytest.mark.parametrize(("title", "text", "want"), RESOLV_CONFS, ids=[r[0] for r in RESOLV_CONFS])
def test_nameserver_lines(title: str, text: str, want: tuple[str, ...]) -> None:
    """Which servers a file names; search and domain never apply."""
    assert parse(text).servers == want


OPTIONS = [
    ("no options", "nameserver 192.0.2.1\n", False),
    ("trust-ad", "options trust-ad\n", True),
    ("trust-ad among others", "options timeout:1\tedns0 trust-ad\n", True),
    ("trust-ad in the second of two lines", "options edns0\noptions trust-ad\n", True),
    ("a comment", "# options trust-ad\n", False),
    ("another option that ends like it", "options no-trust-ad trust-adx\n", False),
    ("the word without the keyword", "trust-ad\n", False),
]


@pytest.mark.parametrize(("title", "text", "want"), OPTIONS, ids=[o[0] for o in OPTIONS])
def test_options(title: str, text: str, want: bool) -> None:
    """Whether the file vouches for the AD bit of its nameservers."""
    assert parse(text).trust_ad is want


def test_the_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """Edited, replaced, and kept as last read while it is gone."""
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    conf = ResolvConf(str(path))
    assert conf.read().servers == ("192.0.2.1:53",)
    path.write_text("nameserver 192.0.2.22\noptions trust-ad\n")
    assert conf.read() == Conf(("192.0.2.22:53",), trust_ad=True)
    (tmp_path / "new").write_text("nameserver 192.0.2.33\n")
    os.replace(tmp_path / "new", path)
    assert conf.read() == Conf(("192.0.2.33:53",))
    path.unlink()
    assert conf.read() == Conf(("192.0.2.33:53",))


def test_a_missing_file_means_the_local_resolver(tmp_path: Path) -> None:
    """As the C library takes it."""
    assert ResolvConf(str(tmp_path / "none")).read() == Conf(("127.0.0.1:53",))
