"""Log lines on standard error: one event a line, `event key=value ...`, or JSON.

Modules log `log.info("event-name %s", KV(...))`; KV quotes whatever it is
given, so that no remote text can forge a line. Under systemd (JOURNAL_STREAM)
each line begins with journald's priority, and the journal adds the time.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from traceback import format_tb

from ..config.settings import LogSettings
from ..core.quoting import KV, LIMIT, escape, json_line

TRACEBACK = 12  # places of one, the last
_OURS = __name__.partition(".")[0]
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


class _Text(logging.Formatter):
    def __init__(self, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        event, fields = _parts(record)
        text = f"{event} {KV(**fields)}" if fields else event
        if traceback := _traceback(record):
            text += ' traceback="' + escape(traceback).replace('"', r"\"") + '"'
        if self._journal:
            return f"<{_PRIORITY.get(record.levelno, 6)}>{text}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{stamp}.{int(record.msecs):03d}Z {record.levelname.lower()} {text}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        event, fields = _parts(record)
        line: dict[str, object] = {"time": round(record.created, 3), "level": record.levelname.lower(), "event": event}
        for name, value in fields.items():
            plain = isinstance(value, (int, float, bool)) or value is None
            line[name] = value if plain else str(value)[:LIMIT]
        if traceback := _traceback(record):
            line["traceback"] = traceback
        return json_line(line)


def _parts(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Event and fields; what a library has to say becomes fields of an event of ours."""
    given = record.args[0] if isinstance(record.args, tuple) and len(record.args) == 1 else None
    if record.name.partition(".")[0] != _OURS:
        event, given = "library-message %s", KV(name=record.name, message=record.getMessage())
    elif isinstance(given, KV):
        event = str(record.msg)
    else:
        return escape(record.getMessage()), {}
    return event.removesuffix(" %s"), given.fields


def _traceback(record: logging.LogRecord) -> str:
    """Which only a bug brings: the places, and the error's words as far as a field takes them."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    places = "".join(format_tb(error.__traceback__, -TRACEBACK))
    return f"{places}{type(error).__name__}: {error}"[: len(places) + LIMIT]


def configure(settings: LogSettings) -> None:
    """Send this program's log lines to standard error, as *settings* say; may be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if settings.format == "json" else _Text(_is_journal()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(_OURS).setLevel(settings.level.upper())


def _is_journal() -> bool:
    """Whether standard error goes to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))
