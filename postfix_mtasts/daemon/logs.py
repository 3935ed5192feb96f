"""Log lines on standard error: one event a line, `event key=value ...`, or JSON.

Modules log `log.info("event-name %s", KV(...))`; KV quotes whatever it is
given, so that no remote text can forge a line. Under systemd (JOURNAL_STREAM)
each line begins with journald's priority, and the journal adds the time.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

from ..core.quoting import KV, LIMIT, escape
from ..settings import LogSettings

_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Text(logging.Formatter):
    def __init__(self, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = _whole(record)
        if self._journal:
            return f"<{_PRIORITY.get(record.levelno, 6)}>{text}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {text}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {"time": round(record.created, 3), "level": record.levelname.lower()}
        fields = record.args[0] if isinstance(record.args, tuple) and len(record.args) == 1 else None
        if isinstance(fields, KV):
            line["event"] = record.msg.removesuffix(" %s")
            for name, value in fields.fields.items():
                plain = isinstance(value, (int, float, bool)) or value is None
                line[name] = value if plain else str(value)[:LIMIT]
        else:
            line["event"] = _whole(record)
        return json.dumps(line)


def _whole(record: logging.LogRecord) -> str:
    """The line's text; a traceback, which only a bug of ours brings, is put on the same line."""
    text = record.getMessage()
    if record.exc_info:
        text += " traceback=" + json.dumps(logging.Formatter().formatException(record.exc_info))
    return text if text.isascii() and text.isprintable() else escape(text)


def configure(settings: LogSettings) -> None:
    """Send this program's log lines to standard error, as *settings* say; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.format == "json" else _Text(_is_journal()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(__package__.partition(".")[0]).setLevel(settings.level.upper())


def _is_journal() -> bool:
    """Whether standard error goes to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))
