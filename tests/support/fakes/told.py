"""What a daemon tells commands, written out: complete messages for tests that care for a field or two."""

from __future__ import annotations

from postfix_mtasts.daemon.operating.messages import ShownNegative, ShownPolicy
from postfix_mtasts.daemon.operating.numbers import (
    Cold,
    Numbers,
    ProcessNumbers,
    RefreshNumbers,
    SharedNumbers,
    WorkerNumbers,
)

from .entries import NOW, policy

POLICY = ShownPolicy(
    domain="example.com",
    mode="enforce",
    age=7_200.0,
    left=597_600.0,
    mx=["mx.example.com"],
    failures=0,
    record_id="20231114",
    policy=policy().text,
    fetched_at=NOW - 7_200.0,
    used_at=0.0,
    checked_at=NOW,
    expires_at=NOW + 597_600.0,
    next_due_at=None,
    failure=None,
    dane=None,
    answers={},
    replies={},
)
NEGATIVE = ShownNegative("example.com", "there is no record", NOW + 240.0, 240.0, {}, {})
NUMBERS = Numbers(
    version="1.2.3",
    lookups={"postfix": {"secure": 3, "notfound": 2}},
    cold=Cold(2, 1.5, {"0.005": 1, "+Inf": 2}),
    policies={"enforce": 1, "testing": 0, "none": 0},
    negatives=5,
    nearest_expiry=86400.0,
    fetches={"ok": 1, "sts-webpki-invalid": 4},
    dns_queries={"TXT": {"nxdomain": 7}},
    dns_up=False,
    store_up=False,
    reports={"sent": 11},
    refresh=RefreshNumbers(9, 10.5, 2),
    connections=6,
    errors=8,
    workers=WorkerNumbers(False, 2, 3),
    shared=SharedNumbers(True, 12, {"get": {"ok": 13}}),
    proxy_up=True,
    process=ProcessNumbers(40_000_000, 14.5),
)
