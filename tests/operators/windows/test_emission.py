"""Closing in parts: what is due in many key groups comes to the same, however much it is."""

import pytest

from operators.records.batches import END_OF_INPUT
from operators.windows import Windows, agg, session, sliding, tumbling
from operators.windows import emission as closing
from operators.windows.emission import Emission
from operators.windows.open_windows import new_panes
from tests.operators.windows.model import Record, frame

AGGREGATES = {"payments": agg.count(), "cards": agg.distinct("card", exact=3)}


@pytest.mark.parametrize("window", [tumbling(60), sliding(60, every=20), session(60)])
@pytest.mark.parametrize("at_once", [1, 7, 1 << 16])
def test_parts_come_to_what_all_at_once_comes_to(window, at_once, monkeypatch):
    windows = Windows(("key",), window, AGGREGATES)
    dues = []
    for group in range(5):
        records = [
            Record(0, at, f"{group}{'ab'[at % 2]}", at * 13, at, "uvwxy"[at % 5], -(10**6))
            for at in range(3 * group)
        ]
        panes = new_panes(windows)
        rows = windows.judge(frame(records)).rows if records else None
        dues += [panes.advance(rows, END_OF_INPUT)]
    due = [each for each in dues if each is not None]
    assert len(due) == 4
    order = ["key", "window_start"]
    whole = Emission(windows).close(due).sort(order)
    monkeypatch.setattr(closing, "_AT_ONCE", at_once)
    assert Emission(windows).close(due).sort(order).equals(whole)
    assert Emission(windows).close([]) is None
