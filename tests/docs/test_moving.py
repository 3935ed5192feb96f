"""docs/moving.rst: what it tells to write into configuration and shell exists."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from postfix_mtasts.cli.main import COMMANDS
from postfix_mtasts.config.settings import MapSettings, Settings
from tests.docs.test_manual import settings_of

TEXT = (Path(__file__).parents[2] / "docs" / "moving.rst").read_text()
SETTINGS = {key for key, _, _ in [*settings_of(Settings(), ""), *settings_of(MapSettings(), "maps.NAME.")]}
THEIRS = ("default_zone.", "zones.", "cache.type", "cache.options", "server.", "dns.address")


def test_each_setting_that_is_named_exists() -> None:
    """In the right column of a table, or in the text."""
    named = set(re.findall(r"``([a-zA-Z_-]+\.[a-zA-Z_.-]+)[^`]*``", TEXT))
    named = {name for name in named if not name.startswith(THEIRS) and not name.endswith((".cf", ".yml"))}
    assert {"refresh.recheck", "cache.directory", "maps.NAME.tlsrpt"} <= named
    assert named - SETTINGS - {"maps.NAME"} == set()


def test_each_map_that_main_cf_is_to_name_exists() -> None:
    """On our port; else mail would wait."""
    maps = re.findall(r"socketmap:inet:127\.0\.0\.1:8462:([A-Za-z-]+)", TEXT)
    assert {"postfix", "QUERY", "QUERYwithTLSRPT"} <= set(maps) <= set(Settings().maps)


def test_each_command_exists() -> None:
    """With its options."""
    used = set(re.findall(r"postfix-mtasts ([a-z]+)", TEXT)) - {"and", "from", "does", "leaves", "on"}
    assert {"cache", "query", "config"} <= used <= set(COMMANDS)


def test_the_other_store_is_read_as_told(tmp_path: Path) -> None:
    """The statement, on a table as the other daemon makes it."""
    [statement] = set(re.findall(r"'(SELECT domain FROM [a-z_]+)'", TEXT))
    with sqlite3.connect(tmp_path / "cache.db") as store:
        store.execute("create table sts_policy_cache (domain text, ts integer, pol_id text, pol_body text)")
        store.execute("insert into sts_policy_cache values ('example.com', 1, '1', '{}')")
        assert store.execute(statement).fetchall() == [("example.com",)]
    store.close()
