"""Axes: pictures as SVG, drawn of their numbers alone; colours are the page's."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Final

_LEFT: Final = 64
_RIGHT: Final = 16
_TOP: Final = 24
_BOTTOM: Final = 44


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, `most` of them at the most, evenly apart."""
    span = max(high - low, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / most))
    step *= next(each for each in (1, 2, 5, 10, 20) if span / (step * each) < most)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass
class Axes:
    """A picture's two axes, and what has been drawn."""

    x: tuple[float, float]
    y: tuple[float, float]
    label: str
    width: int = 720
    height: int = 300
    parts: list[str] = field(default_factory=list)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return where a point is."""
        (x0, x1), (y0, y1) = self.x, self.y
        across = (x - x0) / ((x1 - x0) or 1)
        up = (y - y0) / ((y1 - y0) or 1)
        return (
            _LEFT + across * (self.width - _LEFT - _RIGHT),
            self.height - _BOTTOM - up * (self.height - _TOP - _BOTTOM),
        )

    def grid(
        self,
        x_label: str,
        y_label: str,
        x_texts: Iterable[tuple[float, str]] | None = None,
        y_texts: Iterable[tuple[float, str]] | None = None,
    ) -> None:
        """Draw lines, and what they are."""
        for value, text in y_texts or ((v, f"{v:,.10g}") for v in ticks(*self.y)):
            left, y = self.at(self.x[0], value)
            self.parts.append(
                f'<line class="grid" x1="{left:.1f}" x2="{self.width - _RIGHT}" y1="{y:.1f}" '
                f'y2="{y:.1f}"/><text x="{left - 8:.1f}" y="{y + 4:.1f}" '
                f'text-anchor="end">{escape(text)}</text>'
            )
        for value, text in x_texts or ((v, f"{v:,.10g}") for v in ticks(*self.x)):
            x, _ = self.at(value, 0)
            self.parts.append(
                f'<text x="{x:.1f}" y="{self.height - _BOTTOM + 18}" text-anchor="middle">'
                f"{escape(text)}</text>"
            )
        self.parts.append(
            f'<text class="label" x="{self.width - _RIGHT}" y="{self.height - 6}" '
            f'text-anchor="end">{escape(x_label)}</text>'
            f'<text class="label" x="4" y="12">{escape(y_label)}</text>'
        )

    def line(self, kind: str, points: Sequence[tuple[float, float]], name: str) -> None:
        """Draw a line through points."""
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in (self.at(*each) for each in points))
        self.parts.append(
            f'<polyline class="line {kind}" points="{places}"><title>{escape(name)}</title>'
            "</polyline>"
        )

    def bar(self, kind: str, x: tuple[float, float], y: tuple[float, float], name: str) -> None:
        """Draw a bar."""
        left, bottom = self.at(x[0], y[0])
        right, top = self.at(x[1], y[1])
        self.parts.append(
            f'<rect class="{kind}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{bottom - top:.1f}"><title>{escape(name)}</title></rect>'
        )

    def svg(self, style: str = "") -> str:
        """Return the picture; with a `style` it is a file of its own."""
        alone = own = ""
        if style:
            size = f'width="{self.width}" height="{self.height}"'
            alone = f'xmlns="http://www.w3.org/2000/svg" {size} '
            own = f"<style>{style}</style>"
        return (
            f'<svg {alone}viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.label)}">{own}{"".join(self.parts)}</svg>'
        )
