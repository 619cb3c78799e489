"""The roofline as a picture: a bar for each piece, each where the one before it ends."""

from collections.abc import Mapping
from html import escape
from typing import Final

from ops.axes import Axes

_STYLE: Final = (
    "text { font: 12px system-ui, sans-serif; fill: #808080 } "
    ".piece { fill: #3b7dd8 } .whole { fill: #808080 }"
)


def roofline(pieces: Mapping[str, float], whole: float) -> str:
    """Draw the µs of CPU that an event takes in each piece, and in the whole flow."""
    total = sum(pieces.values())
    end, bars = max(total, whole) * 1.02, len(pieces) + 1
    axes = Axes((0, end), (0, bars), "CPU of an event, by piece and in the whole flow")
    at = 0.0
    for row, (name, value) in enumerate(pieces.items()):
        _bar(axes, "piece", bars - 1 - row, (at, at + value), f"{name} {value:.2f} µs")
        at += value
    name = f"whole flow {whole:.2f} µs, {total / whole:.0%} of it in the pieces"
    axes.bar("whole", (0, whole), (0.15, 0.85), name)
    x, y = axes.at(0, 0)
    axes.parts.append(f'<text x="{x:.1f}" y="{y + 14:.1f}">{escape(name)}</text>')
    return axes.svg(_STYLE) + "\n"


def _bar(axes: Axes, kind: str, row: int, across: tuple[float, float], name: str) -> None:
    axes.bar(kind, across, (row + 0.15, row + 0.85), name)
    left = across[0] > axes.x[1] / 2
    x, y = axes.at(across[0] if left else across[1], row + 0.5)
    anchor, gap = ("end", -6) if left else ("start", 6)
    axes.parts.append(
        f'<text x="{x + gap:.1f}" y="{y + 4:.1f}" text-anchor="{anchor}">{escape(name)}</text>'
    )
