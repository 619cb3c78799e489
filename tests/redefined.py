"""``python -m tests.redefined name ...`` is ``bytewax.run ...`` with other windows declared.

The names are those of the functions here; they are of clicks, but for `without_days`.
"""

import contextlib
import runpy
import sys
from collections.abc import Iterator
from dataclasses import replace

import flows  # noqa: F401 # sets what must be set before Polars is imported
from flows.streams import CLICKS, PAYMENTS, Stream
from operators.windows import Aggregate, Windows, agg, session, tumbling

_WINDOWS = dict(CLICKS.windows)
_USERS = Windows(
    ("user_id",), session("1h"), {"n": agg.count(), "campaigns": agg.distinct("campaign_id")}
)


def window_added() -> dict[str, Windows]:
    return _WINDOWS | {"user_sessions": _USERS}


def window_changed() -> dict[str, Windows]:
    changed = replace(_WINDOWS["campaign_5m"], window=tumbling("10m"))
    return {"user_sessions": _USERS, "campaign_5m": changed}


def window_renamed() -> dict[str, Windows]:
    found = window_changed()
    return found | {"campaign_10m": found.pop("campaign_5m")}


def _aggregates(**changes: Aggregate) -> dict[str, Windows]:
    windows = _WINDOWS["campaign_5m"]
    found = {n: a for n, a in windows.aggregates.items() if n not in ("users", "dearest")}
    return {"campaign_5m": replace(windows, aggregates=found | changes)}


def aggregate_added() -> dict[str, Windows]:
    """In the place of another."""
    return _aggregates(dearest=agg.max("cost_minor"))


def aggregate_changed() -> dict[str, Windows]:
    return _aggregates(dearest=agg.max("cost_minor", where="kind = 'CLICK'"))


def without_days() -> dict[str, Windows]:
    """Those of payments, as they were before they had totals of days."""
    return {name: each for name, each in PAYMENTS.windows.items() if not name.endswith("_day")}


def _declare(windows: dict[str, Windows], stream: Stream = CLICKS) -> None:
    declared = stream.windows
    assert isinstance(declared, dict)
    declared.clear()
    declared.update(windows)
    # What was worked out of those of before.
    stream.__dict__.pop("all_tables", None)


@contextlib.contextmanager
def declared(windows: dict[str, Windows]) -> Iterator[None]:
    """Declare these windows, for this process and a while."""
    _declare(windows)
    try:
        yield
    finally:
        _declare(_WINDOWS)


def main() -> None:
    """Declare the windows that the function of the first argument returns; run the flow."""
    name = sys.argv.pop(1)
    _declare(globals()[name](), PAYMENTS if name == without_days.__name__ else CLICKS)
    runpy.run_module("bytewax.run", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
