"""`postfix-mtasts serve` as a process of its own, and clients that look at it from outside."""

from __future__ import annotations

import http.client
import socket
import ssl
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.servers.daemon import Daemon

POLICY_PATH = "/.well-known/mta-sts.txt"


class Serve(Daemon):
    """`with Serve(directory, publish) as serve:` runs it; *publish* is that section of the configuration."""

    ready_event = "started"

    def __init__(self, directory: Path, publish: Mapping[str, Any], **sections: Any) -> None:
        self.policies, self.state = directory / "policies", directory / "state"
        self.policies.mkdir(parents=True, exist_ok=True)
        places = {"directory": str(self.policies), "state_directory": str(self.state)}
        super().__init__(directory, {"publish": {**places, **publish}, **sections})

    def command(self) -> list[str]:
        return [sys.executable, "-m", "postfix_mtasts", "serve", "--config", str(self.config_file)]

    def publish(self, domain: str, text: bytes) -> None:
        """Put a policy file into the folder, as an administrator's copy would."""
        (self.policies / f"{domain}.txt").write_bytes(text)


def fetch(
    name: str,
    ca: str | bytes | None,
    address: tuple[str, int] = ("127.0.0.1", 443),
    *,
    host: str | None = None,
    method: str = "GET",
    path: str = POLICY_PATH,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """One request over TLS with SNI *name*: status, body and headers; *ca* None: plain HTTP."""
    sock: socket.socket = socket.create_connection(address, timeout=20)
    if ca is not None:
        cadata = ca.decode() if isinstance(ca, bytes) else ca
        sock = ssl.create_default_context(cadata=cadata).wrap_socket(sock, server_hostname=name)
    connection = http.client.HTTPConnection(host or name)
    connection.sock = sock
    try:
        connection.request(method, path, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(), response.msg
    finally:
        connection.close()
