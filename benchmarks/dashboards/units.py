"""Values as Grafana's units write them, as far as the dashboards have these."""

from collections.abc import Sequence
from typing import Final

_Steps = Sequence[tuple[float, str]]

_SHORT: Final = ((1e9, " G"), (1e6, " M"), (1e3, " k"))
_BYTES: Final = ((2.0**30, " GiB"), (2.0**20, " MiB"), (2.0**10, " KiB"), (1.0, " B"))
_RATE: Final = ((1e9, " GB/s"), (1e6, " MB/s"), (1e3, " kB/s"), (1.0, " B/s"))
_TIME: Final = ((86_400.0, " d"), (3_600.0, " h"), (60.0, " min"), (1.0, " s"), (0.001, " ms"))


def scale(unit: str, highest: float) -> tuple[float, str]:
    """Return what values are divided by, and what stands behind them, up to a highest one.

    Raises KeyError for a unit that no dashboard had so far.
    """
    if unit == "percentunit":
        return 0.01, "%"
    steps: dict[str, _Steps] = {
        "short": _SHORT,
        "ops": _SHORT,
        "bytes": _BYTES,
        "Bps": _RATE,
        "s": _TIME,
    }
    last = " B" if unit == "bytes" else " B/s" if unit == "Bps" else " s" if unit == "s" else ""
    found = next((each for each in steps[unit] if highest >= each[0]), (1.0, last))
    return (found[0], f"{found[1]}/s") if unit == "ops" else found


def text(value: float, unit: str) -> str:
    """Return a value with its unit, in three digits or what whole numbers need."""
    by, behind = scale(unit, abs(value))
    return (
        f"{value / by:,.3g}{behind}"
        if abs(value / by) < 999.5
        else f"{value / by:,.0f}{behind}"
    )
