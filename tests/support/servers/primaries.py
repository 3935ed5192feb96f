"""Primary name servers that take dynamic updates signed by TSIG: knot and bind9, on 127.0.0.5."""

from __future__ import annotations

import base64
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers.debian import Program, _serial, ask, zone_head

PRIMARY = "127.0.0.5"
SECRET = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


class Primary(Program):
    """One zone; `key_file` holds the key, as BIND writes it. UPDATES are for that key only."""

    address = PRIMARY

    def __init__(self, directory: Path, zone: str, records: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self.zone, self.records = zone, records
        self.key_file = self._write(
            "update.key", f'key "owner" {{\n  algorithm hmac-sha256;\n  secret "{SECRET}";\n}};\n'
        )

    def is_ready(self) -> bool:
        return _serial(self.address, self.zone) > 0

    def texts(self, name: str) -> list[str]:
        """The TXT records at *name*, in quotes."""
        return sorted(str(record) for rrset in ask(self.address, name, "TXT").answer for record in rrset)

    def _zone_file(self) -> Path:
        return self._write(f"{self.zone}.zone", "\n".join([*zone_head(self.zone), *self.records]) + "\n")


class KnotPrimary(Primary):
    def command(self) -> Sequence[str]:
        config = f"""\
            server:
              rundir: {self.directory}
              listen: {self.address}@53
            log:
              - target: stderr
                any: info
            database:
              storage: {self.directory}
            key:
              - id: owner
                algorithm: hmac-sha256
                secret: {SECRET}
            acl:
              - id: updates
                key: owner
                action: update
            zone:
              - domain: {self.zone}
                file: {self._zone_file()}
                acl: updates
            """
        return ["knotd", "-c", str(self._write("knot.conf", config))]


class BindPrimary(Primary):
    def command(self) -> Sequence[str]:
        # It listens on addresses of interfaces only, and 127.0.0.5 is not one, though it is on loopback.
        subprocess.run(["ip", "address", "replace", f"{self.address}/8", "dev", "lo"], check=True)
        config = f"""\
            include "{self.key_file}";
            options {{
              directory "{self.directory}";
              pid-file "{self.directory}/pid";
              session-keyfile "{self.directory}/session.key";
              managed-keys-directory "{self.directory}";
              listen-on {{ {self.address}; }};
              listen-on-v6 {{ none; }};
              recursion no;
              dnssec-validation no;
            }};
            controls {{ }};
            zone "{self.zone}" {{
              type primary;
              file "{self._zone_file()}";
              allow-update {{ key owner; }};
            }};
            """
        return ["named", "-g", "-u", "root", "-c", str(self._write("named.conf", config))]
