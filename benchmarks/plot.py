"""A line chart as SVG: how many lookups a second, by connections."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 80, 20, 40, 60  # pixels
COLOURS = ("#888888", "#1f5fa8", "#c0561e", "#3a7d2c")


def draw(path: Path, title: str, lines: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    """Write *lines* (name to points of connections and lookups a second)."""
    xs = sorted({x for points in lines.values() for x, _ in points})
    step = 10 ** int(math.log10(max(y for points in lines.values() for _, y in points)))
    top = step * math.ceil(max(y for points in lines.values() for _, y in points) / step)

    def at(x: int, y: float) -> tuple[float, float]:
        across = math.log(x / xs[0]) / math.log(xs[-1] / xs[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 22, title, size=15),
        _text(WIDTH / 2, HEIGHT - 14, "connections, one request at a time on each", anchor="middle"),
    ]
    for mark in range(0, int(top) + 1, max(1, int(top / step // 6 or 1)) * int(step)):
        _, y = at(xs[0], mark)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#dddddd"/>')
        parts.append(_text(LEFT - 8, y + 4, f"{mark:,}", anchor="end"))
    for x in xs:
        parts.append(_text(at(x, 0)[0], HEIGHT - BOTTOM + 20, f"{x:,}", anchor="middle"))
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path_data = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline points="{path_data}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(_text(LEFT + 12, TOP + 14 + 18 * number, name, colour=colour))
    path.write_text("\n".join([*parts, "</svg>", ""]))


def _text(x: float, y: float, words: str, *, anchor: str = "start", size: int = 13, colour: str = "#222222") -> str:
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{colour}">{words}</text>'
