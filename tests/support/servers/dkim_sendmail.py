"""A sendmail that signs: python dkim_sendmail.py PORT KEY DOMAIN RECIPIENT, the mail on standard input."""

from __future__ import annotations

import re
import smtplib
import sys
from pathlib import Path

import dkim


def main(port: str, key: str, domain: str, recipient: str) -> None:
    mail = re.sub(rb"\r?\n", b"\r\n", sys.stdin.buffer.read())
    signature = dkim.sign(
        mail, b"tlsrpt", domain.encode(), Path(key).read_bytes(), canonicalize=(b"relaxed", b"relaxed")
    )
    with smtplib.SMTP("127.0.0.1", int(port), timeout=30) as client:
        client.sendmail(f"tls@{domain}", [recipient], signature + mail)


if __name__ == "__main__":
    main(*sys.argv[1:])
