"""Print tables: by rich on a terminal if rich is installed, else as plain text in columns.

Every cell is harmless text already (core.quoting): rich gets it as Text, which
it reads no markup in.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple


class Cell(NamedTuple):
    text: str
    style: str = ""  # of rich; plain text has none


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a header, or without one; the last column takes the room that is left."""

    header: Sequence[str]  # empty: none
    rows: Sequence[Sequence[Cell]]
    numbers: bool = False  # all columns but the first are numbers, on the right


def show(tables: Sequence[Table]) -> None:
    """Print *tables* with an empty line between them."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console  # optional, and a tenth of a second
        except ImportError:
            pass
        else:
            _coloured(tables, Console(highlight=False, markup=False, emoji=False))
            return
    print("\n\n".join("\n".join(_plain(table)) for table in tables))


def _plain(table: Table) -> list[str]:
    rows = [[cell.text for cell in row] for row in table.rows]
    if table.header:
        rows.insert(0, [word.upper() for word in table.header])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(_aligned(table, row, widths)).rstrip() for row in rows]


def _aligned(table: Table, row: list[str], widths: list[int]) -> list[str]:
    right = [table.numbers and column > 0 for column in range(len(row))]
    return [text.rjust(width) if r else text.ljust(width) for text, width, r in zip(row, widths, right, strict=True)]


def _coloured(tables: Sequence[Table], console: Any) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    for number, table in enumerate(tables):
        drawn = RichTable(box=SIMPLE_HEAD, show_header=bool(table.header), header_style="bold", show_edge=False)
        for column, word in enumerate(table.header or [""] * len(table.rows[0])):
            right = table.numbers and column > 0
            drawn.add_column(word.upper(), justify="right" if right else "left", overflow="fold")
        for row in table.rows:
            drawn.add_row(*(Text(cell.text, style=cell.style) for cell in row))
        if number:
            console.print()
        console.print(drawn)
