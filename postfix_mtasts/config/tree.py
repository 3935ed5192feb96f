"""Text to a tree of YAML nodes, before anything is taken for a value.

What no configuration may use (anchors, aliases, tags) is noted, not followed,
and depth is bounded while the tree grows. Which keys there are, and what their
values mean, is file.py's business. A variable's text becomes the same nodes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from ..core.quoting import escape

DEPTH_LIMIT = 20  # nested lists and mappings; a real file has 3

_TAG = "tag:yaml.org,2002:"
MERGE = f"{_TAG}merge"
ALIAS = "alias"  # our tag for an alias that stays unread
_TOO_DEEP = "nested too deep"
_HINTS = {  # PyYAML's words -> what would be right
    _TOO_DEEP: "no setting needs more than three levels",
    "but found another document": "keep one document and take the line --- out",
}
_HINT = 'quote text that holds ": " or " #" or begins with [ { * & ! % @ `, and indent with blanks only'
_NOWHERE = yaml.Mark("", 0, 0, 0, None, 0)


class SyntaxFault(Exception):
    """The text is not YAML; the words say what is wrong and what would be right."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line  # from 1


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
            node: yaml.Node | None = yaml.ScalarNode(ALIAS, "", *marks)
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


def compose(text: str) -> tuple[yaml.Node | None, Mapping[yaml.Node, str]]:
    """Return the tree of *text*, and what is wrong with single nodes of it. Raises: SyntaxFault."""
    try:
        loader = _Loader(text)
    except yaml.reader.ReaderError as error:
        bad = f"U+{ord(text[error.position]):04X}"
        line = text.count("\n", 0, error.position) + 1
        raise SyntaxFault(line, f"character {bad} is not allowed; take it out") from None
    try:
        return loader.get_single_node(), loader.flaws
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(part for part in (error.context, error.problem) if part)
        safe = what if what.isascii() and what.isprintable() else escape(what)  # PyYAML quotes single characters itself
        hint = _HINTS.get(error.problem or "", _HINT)
        raise SyntaxFault((mark.line if mark else loader.line) + 1, f"{safe[:200]}; {hint}") from None
    except (ValueError, OverflowError):  # PyYAML on "\UFFFFFFFF"
        raise SyntaxFault(loader.line + 1, "an escape stands for no character; leave the escape out") from None


def kind(node: yaml.Node) -> str:
    """Return what YAML takes *node* for: seq, map, str, int, null, ..."""
    return node.tag.removeprefix(_TAG)


def line(node: yaml.Node) -> int:
    """Return the line that *node* begins in, from 1."""
    return node.start_mark.line + 1


# --- what a variable holds


def flow(text: str) -> tuple[yaml.Node, Mapping[yaml.Node, str]]:
    """Take *text* for YAML. Raises: SyntaxFault."""
    node, flaws = compose(text)
    return node or word(""), flaws


def word(text: str) -> yaml.Node:
    """Take *text* for one value as it is: no character of it is special."""
    tag = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return yaml.ScalarNode(tag, text, _NOWHERE, _NOWHERE, style="")  # neither plain (None) nor in quotes


def words(text: str) -> yaml.Node:
    """Take *text* for a list of words with commas or blanks between them; [] is the empty one."""
    items = [] if text == "[]" else [word(item) for item in re.split(r"[,\s]+", text) if item]
    return yaml.SequenceNode(f"{_TAG}seq", items, _NOWHERE, _NOWHERE)


def below(key: str, value: yaml.Node) -> yaml.Node:
    """Return the tree of a file that gives nothing but *value* at the dotted *key*."""
    for name in reversed(key.split(".")):
        value = yaml.MappingNode(f"{_TAG}map", [(word(name), value)], _NOWHERE, _NOWHERE)
    return value
