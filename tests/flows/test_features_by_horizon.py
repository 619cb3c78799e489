"""Counts, sums, means and deviations by card, customer and terminal, over each horizon."""

import random
import re
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl

from flows.streams import PAYMENTS, Stream
from operators.features import WholeFeatures
from tests.operators.features.aggregates import aggregated, alike
from tests.pages import PAGES, blocks

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


def payments() -> list[dict[str, Any]]:
    """Return payments of five cards, two of a customer, from seconds to hours apart."""
    luck, time, rows = random.Random(2), BEGIN, list[dict[str, Any]]()
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
    return rows


def worked_out(stream: Stream, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Return payments with the stream's features, as flows work them out."""
    fresh = {"watermark", *stream.features.marks}
    columns = {name: kind for name, kind in stream.past.items() if name not in fresh}
    frame = pl.DataFrame([dict.fromkeys(columns) | row for row in rows], schema=columns)
    whole = WholeFeatures(stream.features, 30_000_000, 1, stream.featured)
    made = pl.concat(frame for _, frame in [*whole.advance(0, frame), *whole.end()])
    assert made.height == len(rows)
    return made


def test_all_of_them_are_features_that_a_folder_states(tmp_path):
    folder = tmp_path / "features"
    folder.mkdir()
    for name, (by, aggregate, horizon) in GRID.items():
        text = FEATURE.format(name=name, by=by, aggregate=aggregate, horizon=horizon)
        of = "" if aggregate == "count" else "of: amount_minor\n"
        (folder / f"{name}.yaml").write_text(text + of)
    stream = PAYMENTS.with_rules(tmp_path)
    assert {each.name for each in stream.added} == GRID.keys()

    rows = payments()
    made = worked_out(stream, rows)

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


def test_what_is_usual_for_a_customer_leaves_out_what_is_far_above_its_card(tmp_path):
    (tmp_path / "features").mkdir()
    (example,) = blocks("docs/rules.md", "Which features there are", "yaml")
    (tmp_path / "features" / "customer_amount_usual_30d.yaml").write_text(example)
    rows = payments()
    made = worked_out(PAYMENTS.with_rules(tmp_path), rows)
    usual, pane = [], 1440 * MINUTE
    for i, row in enumerate(rows):
        mine = [each["amount_minor"] for each in rows[:i] if each["card_id"] == row["card_id"]]
        mean = sum(mine) / len(mine) if mine else None
        usual.append(mean is None or row["amount_minor"] <= 3 * mean)
    assert 0 < usual.count(False) < len(rows)
    times = [(row["event_time"] - BEGIN) // timedelta(microseconds=1) for row in rows]
    told = []
    for i, row in enumerate(rows):
        end = (times[i] - 90_000_000) // pane * pane
        known = [
            each["amount_minor"]
            for each, time, counts in zip(rows, times, usual, strict=True)
            if counts
            and each["customer_id"] == row["customer_id"]
            and end - 30 * pane <= time // pane * pane < end
        ]
        told.append(aggregated("mean", known))
    assert alike(made["customer_amount_usual_30d"].to_list(), told)
    assert len({*told}) > 5


def test_the_pages_list_names_features_that_there_are_where_it_says():
    page = PAGES["docs/rules.md"].partition("## Which features there are\n")[2]
    lines = page.partition("\n## ")[0].splitlines()
    rows = [line.split("|")[1:-1] for line in lines if line.startswith("| ")][1:]
    assert len(rows) > 10
    folder = Path(PAYMENTS.rules or "").parent
    drafts = {path.stem for path in (folder / "drafts" / "features").glob("*.yaml")}
    for _, silver, draft, _ in rows:
        assert {*re.findall(r"`(\w+)`", silver)} - {"when"} <= {*PAYMENTS.features.columns}
        assert {*re.findall(r"`(\w+)`", draft)} <= drafts
