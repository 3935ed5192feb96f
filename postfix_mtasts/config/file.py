"""The configuration file and the environment to Settings, with every fault in one go.

A fault is one line `FILE:LINE: KEY: what is wrong; what would be right`, KEY
dotted (lookup.wait), text from the file quoted; VARIABLE stands in place of
FILE:LINE where the environment gave the value. Any text leads to settings or
to a ConfigError: every other exception is a bug.

Rule 1: nothing is guessed. An unknown key, a key given twice, an empty value,
        anchors, aliases, merge keys and tags are faults.
Rule 2: YAML gives the structure only, never a value: each value is read from
        the text as written, so that 010 or 1:30 cannot turn into a number
        that nobody wrote.
Rule 3: size and depth are bounded before anything is built.
Rule 4: the environment comes after the file, and is checked by the same code.

How one value is read is in values.py; defaults and ranges in settings.py; what
YAML is taken in tree.py.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import yaml

from ..core.quoting import quote
from ..errors import ConfigError
from . import environment
from .settings import DEFAULT_CONFIG_FILE, MapSettings, Settings
from .tree import ALIAS, MERGE, SyntaxFault, below, compose, flow, kind, line, word, words
from .values import READERS, parse_map_name

SIZE_LIMIT = 128 * 1024  # bytes of a file: forty times the one with every setting and its explanation
WRITER_WAIT = 5.0  # seconds for somebody to begin to write into a named pipe
RETIRED = {"cache.backend": "diskcache"}  # settings of earlier versions, and the value that is passed over
DEFAULT = "default"  # where a value came from that the file does not give

_WORDS = {"seq": "a list", "map": "a mapping", "null": "nothing", "bool": "true or false"}
_AFTER_THE_FILE = sys.maxsize  # in place of a line: faults of the environment come last


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration and where it came from."""

    settings: Settings
    file: str | None  # None: no file, so the defaults
    origins: Mapping[str, str]  # dotted key of each setting -> "FILE:LINE", the variable, or DEFAULT


def read(path: str | None, again: bool = False) -> Loaded:
    """Read the configuration at *path*; None: the default file, whose absence means the defaults.

    With *again*, at a reload, it waits for nobody who might write into a pipe. Raises: ConfigError with every fault.
    """
    file = DEFAULT_CONFIG_FILE if path is None else path
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            is_pipe = stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
            if again and (is_pipe or stream.isatty()):
                raise ConfigError([f"{quote(file)}: a pipe or a terminal cannot be read again; name a regular file"])
            data = _first_of_pipe(stream.fileno()) if is_pipe else b""
            os.set_blocking(stream.fileno(), True)
            data += stream.read(SIZE_LIMIT + 1 - len(data))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if path is None and isinstance(error, FileNotFoundError):
            return replace(load(file, "", os.environ), file=None)
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"{quote(file)}: cannot be read: {why}; name a readable file"]) from None
    if len(data) > SIZE_LIMIT:
        raise ConfigError([f"{quote(file)}: over {SIZE_LIMIT // 1024} KiB; a configuration is smaller"])
    try:
        return load(file, data.decode(), os.environ)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [f"{quote(file)}:{line}: YAML: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"]
        ) from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a pipe, too, without waiting for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _first_of_pipe(descriptor: int) -> bytes:
    """Return what is in a pipe, once there is something; nothing where it is at its end, or its writer takes time.

    Raises: OSError where nobody begins to write into it.
    """
    pipe = select.poll()
    pipe.register(descriptor, select.POLLIN)
    ready = pipe.poll(WRITER_WAIT * 1000)
    try:
        data = os.read(descriptor, SIZE_LIMIT + 1)
    except BlockingIOError:
        return b""
    if not ready and not data:
        raise OSError(errno.EPIPE, "nobody writes into this pipe")
    return data


def load(file: str, text: str, environ: Mapping[str, str] = MappingProxyType({})) -> Loaded:
    """Read *text* as the configuration *file*, then what *environ* gives. Raises: ConfigError with every fault."""
    shown = quote(file)
    reader = _Reader()
    reader.read_file(shown, text)
    reader.read_environment(environ)
    reader.judge_together()
    if reader.faults:
        raise ConfigError([fault for _, fault in sorted(reader.faults, key=lambda fault: fault[0])])
    settings, places = reader.settings, reader.places
    origins = {key: places[key][1] if key in places else DEFAULT for key in leaves(settings)}
    return Loaded(settings, file, MappingProxyType(origins))


def leaves(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> value of every setting, in the order of settings.py."""
    found: dict[str, Any] = {}
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            found |= leaves(value, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = value
    return found


_Place: TypeAlias = tuple[int, str]  # what faults are sorted by, and what an administrator looks for


class _Reader:
    """Nodes to values, one source after the other; collects the faults, and where each value stands."""

    def __init__(self) -> None:
        self.settings = Settings()
        self.faults: list[tuple[int, str]] = []  # line, the whole fault
        self.places: dict[str, _Place] = {}  # by dotted key
        self._file, self._variable = "", ""  # the source; one of them
        self._flaws: Mapping[yaml.Node, str] = {}

    def read_file(self, shown: str, text: str) -> None:
        self._file = shown
        try:
            top, self._flaws = compose(text)
        except SyntaxFault as error:
            self.faults.append((error.line, f"{shown}:{error.line}: YAML: {error}"))
            return
        if top is not None and not (kind(top) == "null" and top not in self._flaws):  # no text but comments
            self.settings = self._section(top, self.settings, "")

    def read_environment(self, environ: Mapping[str, str]) -> None:
        """Put what variables give in the place of what the file gave."""
        defaults = leaves(Settings())
        for name, key, text in environment.given(environ, [*defaults, *RETIRED]):
            self._variable, self._flaws = name, {}
            if key is None:
                self.faults.append((_AFTER_THE_FILE, f"{quote(name)}: {text}"))
                continue
            try:
                if isinstance(defaults.get(key), Mapping):
                    value, self._flaws = flow(text)
                else:
                    value = words(text) if isinstance(defaults.get(key), tuple) else word(text)
            except SyntaxFault as error:
                self.faults.append((_AFTER_THE_FILE, f"{name}: {key}: YAML: {error}"))
                continue
            self.settings = self._section(below(key, value), self.settings, "")

    def judge_together(self) -> None:
        """Find what is right for each setting and wrong for two."""
        settings = self.settings
        if settings.metrics.listen in settings.listen:
            wrong = f"{settings.metrics.listen} is in listen too; choose another port for one of them"
            self._fault(self.places["metrics.listen"], "metrics.listen", wrong)
        if settings.reports.require_dkim and not settings.reports.dkim:
            wrong = "nothing can pass while reports.dkim is false; set it to true"
            self._fault(self.places["reports.require_dkim"], "reports.require_dkim", wrong)
        if settings.shared.password_file is not None and urlsplit(settings.shared.url or "").password is not None:
            wrong = "the URL holds a password too; give one of them"
            self._fault(self.places["shared.password_file"], "shared.password_file", wrong)

    def _place(self, node: yaml.Node) -> _Place:
        if self._variable:
            return _AFTER_THE_FILE, self._variable
        return line(node), f"{self._file}:{line(node)}"

    def _first(self, node: yaml.Node) -> str:
        """Where something stands that is given twice."""
        return "" if self._variable else f", first in line {line(node)}"

    def _fault(self, place: yaml.Node | _Place, key: str, wrong: str) -> None:
        order, shown = place if isinstance(place, tuple) else self._place(place)
        self.faults.append((order, f"{shown}: {key}: {wrong}"))

    def _readable(self, node: yaml.Node, key: str) -> bool:
        """Report the flaw that *node* may have; whether there is a value to read all the same."""
        if node in self._flaws:
            self._fault(node, key, self._flaws[node])
        return node.tag != ALIAS

    def _is(self, wanted: str, node: yaml.Node, key: str, right: str) -> bool:
        """Whether *node* is a seq or a map, as *wanted*; a fault if not."""
        if not self._readable(node, key):
            return False
        if kind(node) == wanted:
            return True
        self._fault(node, key, f"is {_WORDS.get(kind(node), 'plain text')}, not {_WORDS[wanted]}; {right}")
        return False

    def _pairs(self, node: yaml.Node, prefix: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key text, key and value of a mapping, each key once; the rest are faults."""
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            shown = prefix + (quote(key.value) if isinstance(key, yaml.ScalarNode) else "(key)")
            if not self._readable(key, shown):
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, shown, f"is {_WORDS[kind(key)]}; a key is one word")
            elif key.value in first:
                self._fault(key, shown, f"given twice{self._first(first[key.value])}; keep one of them")
            else:
                first[key.value] = key
                yield key.value, key, value

    def _section(self, node: yaml.Node, defaults: Any, prefix: str) -> Any:
        """*defaults* with what *node* gives; prefix is "" or ends in a dot."""
        where = prefix.rstrip(".") or "YAML"
        if prefix and kind(node) == "null" and node not in self._flaws and getattr(defaults, "NULL_IS_NONE", False):
            return defaults
        right = 'write "key: value" lines below it, or {} for the defaults' if prefix else 'write "key: value" lines'
        if not self._is("map", node, where, right):
            return defaults
        known = {field.name: field for field in fields(defaults)}
        given: dict[str, Any] = {}
        for name, key, value in self._pairs(node, prefix):
            if name not in known:
                if not self._is_retired(prefix + name, value):
                    self._fault(key, prefix + quote(name), _unknown(name, key, list(known), prefix))
                continue
            default = getattr(defaults, name)
            if is_dataclass(default):
                given[name] = self._section(value, default, f"{prefix}{name}.")
            else:
                self.places[prefix + name] = self._place(key)
                given[name] = self._value(value, known[name].metadata, default, prefix + name)
        return replace(defaults, **given)

    def _is_retired(self, key: str, value: yaml.Node) -> bool:
        """Whether *key* was a setting once; files that still have it go on to work, with the one value it had."""
        if key not in RETIRED:
            return False
        if self._readable(value, key) and value.value != RETIRED[key]:
            self._fault(value, key, f"is not a setting any more; leave the line out, or keep {RETIRED[key]}")
        return True

    def _value(self, node: yaml.Node, limits: Mapping[str, Any], default: Any, key: str) -> Any:
        """The value of one setting, or *default* after a fault."""
        if limits["kind"] == "maps":
            return self._maps(node, default, key)
        if isinstance(default, tuple):
            return self._list(node, limits, default, key)
        if not self._readable(node, key):
            return default
        if not isinstance(node, yaml.ScalarNode):
            self._fault(node, key, f"is {_WORDS[kind(node)]}; write one value")
            return default
        if kind(node) == "null":
            if limits["null"]:
                return None
            self._fault(node, key, "has no value; give one, or leave it out")
            return default
        try:
            return _scalar(node, limits)
        except ValueError as wrong:
            self._fault(node, key, str(wrong))
            return default

    def _list(self, node: yaml.Node, limits: Mapping[str, Any], default: Any, key: str) -> Any:
        """A list of different values, each read by itself."""
        if not self._is("seq", node, key, 'write a list: "[A, B]", or a line "- A" for each'):
            return default
        first: dict[object, yaml.Node] = {}
        for item in node.value:
            value = self._value(item, limits, "", key)
            if value in first:
                self._fault(item, key, f"{value} is given twice{self._first(first[value])}; keep one of them")
            elif value:  # "" after a fault
                first[value] = item
        return tuple(first)

    def _maps(self, node: yaml.Node, default: Any, key: str) -> Any:
        """Map names with their options; a given `maps` replaces the default ones whole."""
        example = 'write a line such as "postfix: {}" for each map'
        if not self._is("map", node, key, example):
            return default
        if not node.value:
            self._fault(node, key, f"holds no map; {example}, or leave it out for the defaults")
        maps: dict[str, MapSettings] = {}
        for name, name_node, options in self._pairs(node, f"{key}."):
            try:
                parse_map_name(name)
            except ValueError as wrong:
                self._fault(name_node, f"{key}.{quote(name)}", str(wrong))
            maps[name] = self._section(options, MapSettings(), f"{key}.{quote(name)}.")
        return MappingProxyType(maps)


def _scalar(node: yaml.ScalarNode, limits: Mapping[str, Any]) -> object:
    """Read one value. Raises: ValueError("what is wrong; what would be right")."""
    wanted = limits["kind"]
    if wanted == "bool":
        if kind(node) != "bool":
            raise ValueError(f"{quote(node.value)} is neither true nor false; write one of them, without quotes")
        return yaml.SafeLoader.bool_values[node.value.lower()]
    if wanted == "int" and node.style:
        raise ValueError(f"{quote(node.value)} is text; write the number without quotes")
    if wanted == "mode" and node.style is None:
        raise ValueError(f'{quote(node.value)} without quotes is a number to YAML; write it in quotes: "0660"')
    return READERS[wanted](node.value, limits)


def _unknown(name: str, key: yaml.Node, known: list[str], prefix: str) -> str:
    """What is wrong with a key that is not *known*, and which one may have been meant."""
    if key.tag == MERGE:
        return "merge keys are not taken; write the settings themselves"
    if near := get_close_matches(name[:60], known, n=1):
        return f"unknown key; did you mean {prefix}{near[0]}?"
    elsewhere = [dotted for dotted in leaves(Settings()) if dotted.rpartition(".")[2] == name]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; known here: {', '.join(known)}"
