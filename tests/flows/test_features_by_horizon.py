"""Counts, sums, means and deviations by card, customer and terminal, over each horizon."""

import random
from datetime import UTC, datetime, timedelta
from itertools import product

import polars as pl

from flows.streams import PAYMENTS
from operators.features import WholeFeatures
from tests.operators.features.aggregates import aggregated, alike

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
MINUTE = 60_000_000
PANES = {"10m": 1, "1h": 5, "1d": 60, "7d": 360, "30d": 1440}
"""By horizon, how many minutes a pane of features by another key has."""

FEATURE = """\
name: {name}
version: 1
description: A feature.
by: {by}
horizon: {horizon}
aggregate: {aggregate}
"""
GRID = {
    f"{by}_{aggregate}_{horizon}": (by, aggregate, horizon)
    for by, aggregate, horizon in product(
        ("card_id", "customer_id", "terminal_id"), ("count", "sum", "mean", "stddev"), PANES
    )
}


def test_all_of_them_are_features_that_a_folder_states(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for name, (by, aggregate, horizon) in GRID.items():
        text = FEATURE.format(name=name, by=by, aggregate=aggregate, horizon=horizon)
        of = "" if aggregate == "count" else "of: amount_minor\n"
        (folder / f"{name}.yaml").write_text(text + of)
    stream = PAYMENTS.with_rules(tmp_path)
    assert {each.name for each in stream.added} == GRID.keys()

    luck, time, rows = random.Random(2), BEGIN, []
    for number in range(250):
        time += timedelta(microseconds=luck.choice([1, 1, 20, 900]) * luck.randrange(MINUTE))
        card = luck.randrange(5)
        rows.append(
            {
                "source_topic": "payments", "source_partition": 0, "source_offset": number,
                "kafka_timestamp": time, "event_time": time, "card_id": f"card-{card}",
                "customer_id": f"customer-{card // 2}",
                "terminal_id": f"terminal-{luck.randrange(3)}",
                "amount_minor": luck.choice([0, 100, 2_000, luck.randrange(10**9)]),
            }
        )  # fmt: skip
    fresh = {"watermark", *stream.features.marks}
    columns = {name: kind for name, kind in stream.past.items() if name not in fresh}
    frame = pl.DataFrame([dict.fromkeys(columns) | row for row in rows], schema=columns)
    whole = WholeFeatures(stream.features, 30_000_000, 1, stream.featured)
    found = [frame for _, frame in [*whole.advance(0, frame), *whole.end()]]
    made = pl.concat(found)
    assert made.height == len(rows)

    times = [(row["event_time"] - BEGIN) // timedelta(microseconds=1) for row in rows]
    for name, (by, aggregate, horizon) in GRID.items():
        minutes = {"m": 1, "h": 60, "d": 1440}[horizon[-1]] * int(horizon[:-1])
        told = []
        for i, row in enumerate(rows):
            if by == "card_id":
                end, begin = times[i] + 1, times[i] + 1 - minutes * MINUTE
                starts = times[: i + 1]
            else:
                # Closed panes, as of the out-of-orderness and a minute before.
                pane = PANES[horizon] * MINUTE
                end = (times[i] - 90_000_000) // pane * pane
                begin, starts = end - minutes * MINUTE, [t // pane * pane for t in times]
            amounts = [
                rows[j]["amount_minor"]
                for j, start in enumerate(starts)
                if begin <= start < end and rows[j][by] == row[by]
            ]
            told.append(
                len(amounts) if aggregate == "count" else aggregated(aggregate, amounts)
            )
        assert alike(made[name].to_list(), told), name
        assert made[name].n_unique() > 2, name
