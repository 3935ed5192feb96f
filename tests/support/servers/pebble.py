"""Debian's pebble: an ACME server that validates for real, on 127.0.0.1:14000."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trustme

from tests.support.servers.debian import Program
from tests.support.waiting import accepts

ACME_PORT, MANAGEMENT_PORT = 14000, 15000


class Pebble(Program):
    """Started by `with`; asks *dns* (ADDRESS:PORT) for names, and port 80 for challenges."""

    def __init__(self, directory: Path, dns: str = "127.0.0.1:53", **environment: str) -> None:
        super().__init__(directory)
        self._dns, self._environment = dns, environment
        self._ca = trustme.CA()
        self.ca_file = directory / "acme-ca.pem"  # whom the ACME server's own certificate is from
        self._ca.cert_pem.write_to_path(str(self.ca_file))

    directory_url = f"https://127.0.0.1:{ACME_PORT}/dir"

    def command(self) -> Sequence[str]:
        issued = self._ca.issue_cert("127.0.0.1")
        issued.private_key_pem.write_to_path(str(self.directory / "key.pem"))
        issued.cert_chain_pems[0].write_to_path(str(self.directory / "cert.pem"))
        settings: dict[str, Any] = {
            "listenAddress": f"127.0.0.1:{ACME_PORT}",
            "managementListenAddress": f"127.0.0.1:{MANAGEMENT_PORT}",
            "certificate": str(self.directory / "cert.pem"),
            "privateKey": str(self.directory / "key.pem"),
            "httpPort": 80,
            "tlsPort": 443,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": False,
        }
        config = self._write("pebble.json", json.dumps({"pebble": settings}))
        words = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", **self._environment}
        assigned = [f"{name}={value}" for name, value in words.items()]
        return ["env", *assigned, "pebble", "-strict", "-config", str(config), "-dnsserver", self._dns]

    def is_ready(self) -> bool:
        return accepts("127.0.0.1", ACME_PORT) and accepts("127.0.0.1", MANAGEMENT_PORT)

    def root(self) -> str:
        """The CA that its certificates come from, PEM."""
        context = ssl.create_default_context(cafile=str(self.ca_file))
        url = f"https://127.0.0.1:{MANAGEMENT_PORT}/roots/0"
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        with opener.open(url, timeout=10) as answer:
            text: str = answer.read().decode()
        return text

    def orders(self) -> int:
        """How many orders were made so far, by its log."""
        return (self.directory / "output").read_text(errors="replace").count("Added order")
