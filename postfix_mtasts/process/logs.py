"""Write log lines to standard error: one event per line, `event key=value ...`, or JSON.

Modules log `log.info("event-name %s", KV(...))`; KV quotes whatever it is
given, so that no remote text can forge a line. Under systemd (JOURNAL_STREAM)
each line begins with journald's priority, and the journal adds the time.

Rule: code that logs never waits for the reader of the log. Lines are queued
and a thread writes them. While nobody reads, LINES lines are kept; further
ones are dropped, counted, and reported in one line once there is room again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
from datetime import UTC, datetime
from traceback import format_tb

from ..config.settings import LogSettings
from ..core.quoting import KV, LIMIT, escape, json_line

LINES = 2_000  # waiting to be written: a few hundred kilobytes
TRACEBACK = 12  # call frames of a traceback, the innermost
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
        stamp = datetime.fromtimestamp(record.created, UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")
        return f"{stamp}Z {record.levelname.lower()} {text}"


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
    """Return event and fields; a message of a library becomes the fields of an event of ours."""
    given = record.args[0] if isinstance(record.args, tuple) and len(record.args) == 1 else None
    if record.name.partition(".")[0] != _OURS:
        event, given = "library-message %s", KV(name=record.name, message=record.getMessage())
    elif isinstance(given, KV):
        event = str(record.msg)
    else:
        return escape(record.getMessage()), {}
    return event.removesuffix(" %s"), given.fields


def _traceback(record: logging.LogRecord) -> str:
    """Return the traceback that a bug of ours brings, its message cut to the length of a field."""
    error = record.exc_info[1] if record.exc_info else None
    if error is None:
        return ""
    places = "".join(format_tb(error.__traceback__, -TRACEBACK))
    return f"{places}{type(error).__name__}: {error}"[: len(places) + LIMIT]


class Log(logging.Handler):
    """Turns every log record of this process into a line, which its own thread writes to *descriptor*."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: list[str] = []  # to be written
        self._dropped = 0  # lines that found no room, or could not be written, and were not told of yet
        self._writing = False
        self._ending = False
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def configure(self, settings: LogSettings) -> None:
        """Use format and level of *settings* from now on."""
        for unread in ("logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
            setattr(logging, unread, False)  # no line of ours shows them
        logging._srcfile = None  # nor the place of the call, which takes longest to find
        self.setFormatter(_Json() if settings.format == "json" else _Text(_is_journal(self._descriptor)))
        root = logging.getLogger()
        root.handlers[:] = [self]
        root.setLevel(logging.WARNING)
        logging.getLogger(_OURS).setLevel(settings.level.upper())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record) + "\n"
        except Exception as error:  # noqa: BLE001 -- a line that cannot be made must not cost an answer
            fields = KV(place="log", event=record.msg, reason=f"{type(error).__name__}: {error}")
            line = self.format(_record(logging.ERROR, "internal-error %s", fields)) + "\n"
        with self._changed:
            if len(self._lines) >= LINES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._changed.notify_all()

    def end(self, seconds: float) -> None:
        """Wait *seconds* at most until the queue is written, and end the thread; if it is stuck, leave it."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self.flushed(seconds)

    def flushed(self, seconds: float) -> bool:
        """Wait *seconds* at most until the queue is written; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._writing, seconds)

    def _run(self) -> None:
        while lines := self._next():
            try:
                _write_all(self._descriptor, "".join(lines).encode(errors="backslashreplace"))
            except OSError:  # a full disk, or nobody at the other end: there is no one to tell but later
                with self._changed:
                    self._dropped += len(lines)
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _next(self) -> list[str]:
        """Wait for lines to write and return them; return none when it is time to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._lines or self._ending)
            lines, self._lines = self._lines, []
            dropped, self._dropped = self._dropped, 0
            self._writing = bool(lines)
        if lines and dropped:
            lines.append(self.format(_record(logging.WARNING, "log-dropped %s", KV(number=dropped))) + "\n")
        return lines


def _record(level: int, event: str, fields: KV) -> logging.LogRecord:
    return logging.LogRecord(__name__, level, __file__, 0, event, (fields,), None)


def _write_all(descriptor: int, data: bytes) -> None:
    """Write *data*, however long it takes. Raises: OSError."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:  # whoever shares the descriptor made it so
            room = select.poll()
            room.register(descriptor, select.POLLOUT)
            room.poll()


def _is_journal(descriptor: int) -> bool:
    """Tell whether *descriptor* goes to the journal (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    with contextlib.suppress(OSError):
        status = os.fstat(descriptor)
        return (device, inode) == (str(status.st_dev), str(status.st_ino))
    return False
