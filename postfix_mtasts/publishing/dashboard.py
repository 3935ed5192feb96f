"""The dashboard: every published domain on one page, server-rendered, without script.

All that comes from elsewhere is shown as text. The page may load nothing: its
style is inline, and named by its hash in the Content-Security-Policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from importlib.resources import files

import jinja2

from ..reports.page import visible
from .overview import Overview

_CLASSES = {"ok": "ok", "warning": "warning", "error": "error", "unknown": "warning"}


def _text_of(name: str) -> str:
    return (files(__package__) / "templates" / name).read_text(encoding="utf-8")


_ENVIRONMENT = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
_ENVIRONMENT.filters["visible"] = visible
_STYLE = re.compile("<style>(.*?)</style>", re.DOTALL)
_CSS = _text_of("dashboard.css")
_TEMPLATE = _ENVIRONMENT.from_string(_text_of("dashboard.html"))


def policy_of(html: str) -> str:
    """Return the Content-Security-Policy of a page of ours: it may use its own style, and nothing else."""
    style = _STYLE.search(html)
    digest = base64.b64encode(hashlib.sha256((style[1] if style else "").encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def page(overview: Overview) -> str:
    """Return the dashboard as HTML."""
    return _TEMPLATE.render(overview=overview, css=_CSS, time=_time, span=_span, class_of=_class_of)


def _class_of(severity: str) -> str:
    return _CLASSES.get(severity, "")


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
