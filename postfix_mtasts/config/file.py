"""The configuration file: YAML to Settings, with every fault in one go.

A fault is one line `FILE:LINE: KEY: what is wrong; what would be right`, KEY
dotted (lookup.wait), text from the file quoted. Any text leads to settings or
to a ConfigError: every other exception is a bug.

Rule 1: nothing is guessed. An unknown key, a key given twice, an empty value,
        anchors, aliases, merge keys and tags are faults.
Rule 2: YAML gives the structure only, never a value: each value is read from
        the text as written, so that 010 or 1:30 cannot turn into a number
        that nobody wrote.
Rule 3: size and depth are bounded before anything is built.

How one value is read is in values.py; defaults and ranges in settings.py.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

import yaml

from ..core.quoting import escape, quote
from ..errors import ConfigError
from .settings import DEFAULT_CONFIG_FILE, MapSettings, Settings
from .values import READERS, parse_map_name

SIZE_LIMIT = 128 * 1024  # bytes of a file: forty times the one with every setting and its explanation
DEPTH_LIMIT = 20  # nested lists and mappings; a real file has 3
RETIRED = {"cache.backend": "diskcache"}  # settings of earlier versions, and the value that is passed over
DEFAULT = "default"  # where a value came from that the file does not give

_TAG = "tag:yaml.org,2002:"
_ALIAS = "alias"  # our tag for an alias that stays unread
_WORDS = {"seq": "a list", "map": "a mapping", "null": "nothing", "bool": "true or false"}
_TOO_DEEP = "nested too deep"
_YAML_HINTS = {  # PyYAML's words -> what would be right
    _TOO_DEEP: "no setting needs more than three levels",
    "but found another document": "keep one document and take the line --- out",
}
_YAML_HINT = 'quote text that holds ": " or " #" or begins with [ { * & ! % @ `, and indent with blanks only'


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration and where it came from."""

    settings: Settings
    file: str | None  # None: no file, so the defaults
    origins: Mapping[str, str]  # dotted key of each setting -> "FILE:LINE" or DEFAULT


def read(path: str | None, again: bool = False) -> Loaded:
    """Read the configuration at *path*; None: the default file, whose absence means the defaults.

    With *again*, at a reload, it waits for nobody who might write into a pipe. Raises: ConfigError with every fault.
    """
    file = DEFAULT_CONFIG_FILE if path is None else path
    try:
        with open(file, "rb", opener=_open_at_once if again else None) as stream:
            if again and (stream.isatty() or stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)):
                raise ConfigError([f"{quote(file)}: a pipe or a terminal cannot be read again; name a regular file"])
            data = stream.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if path is None and isinstance(error, FileNotFoundError):
            return replace(load(file, ""), file=None)
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError([f"{quote(file)}: cannot be read: {why}; name a readable file"]) from None
    if len(data) > SIZE_LIMIT:
        raise ConfigError([f"{quote(file)}: over {SIZE_LIMIT // 1024} KiB; a configuration is smaller"])
    try:
        return load(file, data.decode())
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [f"{quote(file)}:{line}: YAML: byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"]
        ) from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a pipe, too, without waiting for somebody who writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def load(file: str, text: str) -> Loaded:
    """Read *text* as the configuration *file*. Raises: ConfigError with every fault, in order of lines."""
    shown = quote(file)
    top, flaws = _compose(shown, text)
    reader = _Reader(shown, flaws)
    settings = reader.file_of_settings(top)
    if reader.faults:
        raise ConfigError([fault for _, fault in sorted(reader.faults, key=lambda fault: fault[0])])
    lines = reader.lines
    origins = {key: f"{shown}:{lines[key]}" if key in lines else DEFAULT for key in leaves(settings)}
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


class _Loader(yaml.SafeLoader):
    """Composes nodes, notes what no configuration may use, and stops at deep nesting."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.flaws: dict[yaml.Node, str] = {}
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        flaw = None
        if isinstance(event, yaml.AliasEvent):  # never followed: a few of them can stand for gigabytes
            marks: Any = event.start_mark, event.end_mark
            self.get_event()  # type: ignore[no-untyped-call]
            node: yaml.Node | None = yaml.ScalarNode(_ALIAS, "", *marks)
            flaw = "aliases such as *x are not taken; write the value itself"
        else:
            if event.tag is not None:
                flaw = "tags such as !x are not taken; leave the tag out"
                event.tag, event.implicit = None, (True, False)
            elif event.anchor is not None:
                flaw = "anchors such as &x are not taken; leave the anchor out"
            event.anchor = None
            if self._depth == DEPTH_LIMIT:
                raise yaml.MarkedYAMLError(None, None, _TOO_DEEP, event.start_mark)
            self._depth += 1
            node = super().compose_node(parent, index)
            self._depth -= 1
        if flaw and node:
            self.flaws[node] = flaw
        return node


def _compose(shown: str, text: str) -> tuple[yaml.Node | None, Mapping[yaml.Node, str]]:
    """The tree of *text*, and what is wrong with single nodes of it. Raises: ConfigError."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        bad = f"U+{ord(text[error.position]):04X}"
        raise ConfigError([f"{shown}:{line}: YAML: character {bad} is not allowed; take it out"]) from None
    try:
        return loader.get_single_node(), loader.flaws
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        hint = _YAML_HINTS.get(error.problem or "", _YAML_HINT)
        raise ConfigError([_syntax_fault(shown, mark.line if mark else loader.line, what, hint)]) from None
    except (ValueError, OverflowError):  # PyYAML on "\UFFFFFFFF"
        hint = "leave the escape out"
        raise ConfigError([_syntax_fault(shown, loader.line, "an escape stands for no character", hint)]) from None


def _syntax_fault(shown: str, line: int, what: str, hint: str) -> str:
    safe = what if what.isascii() and what.isprintable() else escape(what)  # PyYAML quotes single characters itself
    return f"{shown}:{line + 1}: YAML: {safe[:200]}; {hint}"


def _kind(node: yaml.Node) -> str:
    """What YAML takes *node* for: seq, map, str, int, null, ..."""
    return node.tag.removeprefix(_TAG)


def _line(node: yaml.Node) -> int:
    return node.start_mark.line + 1


class _Reader:
    """Nodes to values; collects the faults, and where each value stands."""

    def __init__(self, shown: str, flaws: Mapping[yaml.Node, str]) -> None:
        self._shown, self._flaws = shown, flaws
        self.faults: list[tuple[int, str]] = []  # line, the whole fault
        self.lines: dict[str, int] = {}  # dotted key -> line

    def file_of_settings(self, top: yaml.Node | None) -> Settings:
        defaults = Settings()
        if top is None or (_kind(top) == "null" and top not in self._flaws):  # no text but comments
            return defaults
        settings: Settings = self._section(top, defaults, "")
        if settings.metrics.listen in settings.listen:
            wrong = f"{settings.metrics.listen} is in listen too; choose another port for one of them"
            self._fault(self.lines["metrics.listen"], "metrics.listen", wrong)
        if settings.reports.require_dkim and not settings.reports.dkim:
            wrong = "nothing can pass while reports.dkim is false; set it to true"
            self._fault(self.lines["reports.require_dkim"], "reports.require_dkim", wrong)
        if settings.shared.password_file is not None and urlsplit(settings.shared.url or "").password is not None:
            wrong = "the URL holds a password too; give one of them"
            self._fault(self.lines["shared.password_file"], "shared.password_file", wrong)
        return settings

    def _fault(self, place: yaml.Node | int, key: str, wrong: str) -> None:
        line = place if isinstance(place, int) else _line(place)
        self.faults.append((line, f"{self._shown}:{line}: {key}: {wrong}"))

    def _readable(self, node: yaml.Node, key: str) -> bool:
        """Report the flaw that *node* may have; whether there is a value to read all the same."""
        if node in self._flaws:
            self._fault(node, key, self._flaws[node])
        return node.tag != _ALIAS

    def _is(self, kind: str, node: yaml.Node, key: str, right: str) -> bool:
        """Whether *node* is of *kind*; a fault if not."""
        if not self._readable(node, key):
            return False
        if _kind(node) == kind:
            return True
        self._fault(node, key, f"is {_WORDS.get(_kind(node), 'plain text')}, not {_WORDS[kind]}; {right}")
        return False

    def _pairs(self, node: yaml.Node, prefix: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
        """Key text, key and value of a mapping, each key once; the rest are faults."""
        first: dict[str, yaml.Node] = {}
        for key, value in node.value:
            shown = prefix + (quote(key.value) if isinstance(key, yaml.ScalarNode) else "(key)")
            if not self._readable(key, shown):
                continue
            if not isinstance(key, yaml.ScalarNode):
                self._fault(key, shown, f"is {_WORDS[_kind(key)]}; a key is one word")
            elif key.value in first:
                line = _line(first[key.value])
                self._fault(key, shown, f"given twice, first in line {line}; keep one of them")
            else:
                first[key.value] = key
                yield key.value, key, value

    def _section(self, node: yaml.Node, defaults: Any, prefix: str) -> Any:
        """*defaults* with what *node* gives; prefix is "" or ends in a dot."""
        where = prefix.rstrip(".") or "YAML"
        if prefix and _kind(node) == "null" and node not in self._flaws and getattr(defaults, "NULL_IS_NONE", False):
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
                self.lines[prefix + name] = _line(key)
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
            self._fault(node, key, f"is {_WORDS[_kind(node)]}; write one value")
            return default
        if _kind(node) == "null":
            if default is not None:
                self._fault(node, key, "has no value; give one, or leave the line out")
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
        lines: dict[object, int] = {}
        for item in node.value:
            value = self._value(item, limits, "", key)
            if value in lines:
                self._fault(item, key, f"{value} is given twice, first in line {lines[value]}; keep one of them")
            elif value:  # "" after a fault
                lines[value] = _line(item)
        return tuple(lines)

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
    kind, plain = limits["kind"], node.style is None
    if kind == "bool":
        if _kind(node) != "bool":
            raise ValueError(f"{quote(node.value)} is neither true nor false; write one of them, without quotes")
        return yaml.SafeLoader.bool_values[node.value.lower()]
    if kind == "int" and not plain:
        raise ValueError(f"{quote(node.value)} is text; write the number without quotes")
    if kind == "mode" and plain:
        raise ValueError(f'{quote(node.value)} without quotes is a number to YAML; write it in quotes: "0660"')
    return READERS[kind](node.value, limits)


def _unknown(name: str, key: yaml.Node, known: list[str], prefix: str) -> str:
    """What is wrong with a key that is not *known*, and which one may have been meant."""
    if key.tag == f"{_TAG}merge":
        return "merge keys are not taken; write the settings themselves"
    if near := get_close_matches(name[:60], known, n=1):
        return f"unknown key; did you mean {prefix}{near[0]}?"
    elsewhere = [dotted for dotted in leaves(Settings()) if dotted.rpartition(".")[2] == name]
    if elsewhere:
        return f"unknown key here; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; known here: {', '.join(known)}"
