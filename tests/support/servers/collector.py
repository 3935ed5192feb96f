"""The TLSRPT collector that administrators run, and its reporter (tlsrpt-reporter's three programs)."""

from __future__ import annotations

import json
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.servers.debian import Program
from tests.support.waiting import wait_until

BIN = Path(sys.executable).parent


class Failure(NamedTuple):
    """One row of what the collector has stored of failures."""

    domain: str
    policy: dict[str, Any]
    reason: dict[str, Any]
    times: int


class Collector(Program):
    """tlsrpt-collectd: takes datagrams at `socket`."""

    @property
    def socket(self) -> Path:
        return self.directory / "socket"

    @property
    def storage(self) -> str:
        return f"sqlite://{self.directory}/collected.sqlite"

    def command(self) -> Sequence[str]:
        return [
            str(BIN / "tlsrpt-collectd"),
            *("--storage", self.storage, "--socketname", str(self.socket)),
            *("--max_uncommited_datagrams", "1", "--sockettimeout", "1", "--log_level", "info"),
            *("--pidfilename", str(self.directory / "pid"), "--logfilename", str(self.directory / "log")),
            *("--dump_path_for_invalid_datagram", str(self.directory / "invalid")),
        ]

    def is_ready(self) -> bool:
        return self.socket.exists() and (self.directory / "log").exists() and self._days() > 0

    def failures(self) -> list[Failure]:
        """What is stored of today; nothing while the collector begins a day."""
        try:
            with closing(sqlite3.connect(f"file:{self.directory}/collected.sqlite?mode=ro", uri=True)) as database:
                rows = database.execute("SELECT domain, policy, reason, cntr FROM failures ORDER BY rowid").fetchall()
        except sqlite3.OperationalError:
            return []
        return [
            Failure(domain, json.loads(policy), json.loads(reason), count) for domain, policy, reason, count in rows
        ]

    def complaints(self) -> list[str]:
        """What the collector found wrong with the datagrams that it was sent."""
        lines = (self.directory / "log").read_text().splitlines()
        return [line for line in lines if "ERROR" in line or "WARNING" in line]

    def end_day(self) -> None:
        """Let all that was collected be yesterday's, which is what reports are made of."""
        days = self._days()
        self.signal(signal.SIGUSR2)
        wait_until(lambda: self._days() > days, "the collector begins a new day")

    def _days(self) -> int:
        return (self.directory / "log").read_text().count("Old database moved")


class Reportd(Program):
    """tlsrpt-reportd: writes yesterday's reports of *collector* into `reports`, and hands each mail to *sendmail*."""

    def __init__(self, directory: Path, collector: Collector, sendmail: str = "cat") -> None:
        super().__init__(directory)
        self._collector, self._sendmail = collector, sendmail
        self._reports = directory / "reports"
        self._reports.mkdir()

    def command(self) -> Sequence[str]:
        return [
            str(BIN / "tlsrpt-reportd"),
            *("--fetchers", f"{BIN / 'tlsrpt-fetcher'} --storage {self._collector.storage}"),
            *("--dbname", str(self.directory / "reports.sqlite"), "--logfilename", str(self.directory / "log")),
            *("--pidfilename", str(self.directory / "pid"), "--log_level", "info"),
            *(
                "--organization_name",
                "Example",
                "--contact_info",
                "tls@sender.test",
                "--sender_address",
                "tls@sender.test",
            ),
            *("--debug_send_file_dest", str(self._reports), "--sendmail_script", self._sendmail),
            *("--spread_out_delivery", "1", "--interval_main_loop", "1"),
            *("--min_wait_domainlist", "0", "--max_wait_domainlist", "1"),
            *("--min_wait_domaindetails", "0", "--max_wait_domaindetails", "1"),
        ]

    def is_ready(self) -> bool:
        return (self.directory / "log").exists()

    def reports(self, number: int) -> dict[str, dict[str, Any]]:
        """By domain, as soon as there are *number* of them."""

        def texts() -> list[str]:
            return [path.read_text() for path in self._reports.glob("*-mailto:*")]

        wait_until(lambda: sum(text.endswith("}") for text in texts()) == number, f"{number} reports are made")
        found = [json.loads(text) for text in texts()]
        return {report["policies"][0]["policy"]["policy-domain"]: report for report in found}
