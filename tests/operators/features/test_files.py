from dataclasses import replace

import polars as pl
import pytest

from operators.features import FeatureError, Features, Source, load_features
from operators.features.feature import _micros, pane_of
from tests.operators.features.test_against_the_model import COLUMNS, EPOCH, SOURCE

GOOD = """\
name: few
version: 1
description: A feature.
by: card
horizon: 10m
aggregate: count
"""


def test_a_folder_that_is_not_there_has_no_features(tmp_path):
    assert load_features(tmp_path / "features", SOURCE) == ()


def test_all_problems_of_all_files_are_named_at_once(tmp_path):
    (tmp_path / "few.yaml").write_text(GOOD)
    assert [each.name for each in load_features(tmp_path, SOURCE)] == ["few"]
    (tmp_path / "a.yaml").write_text(GOOD.replace("few", "a") + "lag: 2m\n")
    (tmp_path / "b.yaml").write_text(GOOD.replace("10m", "soon") + "wehre: amount > 1\n")
    (tmp_path / "c.yaml").write_text("name: [")
    (tmp_path / "d.yaml").write_bytes(b"\xff")
    (tmp_path / "e.yaml").write_text("- a list")
    (tmp_path / "f.yaml").write_text(GOOD.replace("few", "f") + "where: shop\n")
    with pytest.raises(FeatureError) as raised:
        load_features(tmp_path, SOURCE, {"few"})
    told = str(raised.value)
    for text in (
        "features/a.yaml: lag: is for features by another key than card, the topic's",
        "features/b.yaml: horizon: 'soon' is no time such as 30s, 10m, 24h or 7d",
        "features/b.yaml: wehre: Extra inputs",
        "features/c.yaml: ",
        "features/d.yaml: ",
        "features/e.yaml: ",
        "features/f.yaml: where: 'shop' is no condition",
        "features/few.yaml: there is a column few already",
    ):
        assert text in told


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("horizon: 10m\n", ""), "horizon: by another key than card, the topic's, events"),
        (("count", "seconds_since"), "aggregate: by another key .* no seconds_since of them"),
        (("count", "count\ninclusive: true"), "inclusive: by another key"),
        (("10m", "599s"), "horizon: 599s has too many panes: give a round time"),
        (("count", "count\nlag: soon"), "lag: 'soon' is no time"),
        (("by: shop", "by: stop"), "by: the events have no stop"),
    ],
)
def test_by_another_key_there_is_what_closed_panes_tell(tmp_path, changed, told):
    text = GOOD.replace("by: card", "by: shop")
    (tmp_path / "few.yaml").write_text(text)
    (few,) = load_features(tmp_path, SOURCE)
    assert Features(SOURCE, (few,)).definitions == {
        "few": "1: count() by shop within 600000000 kept 600000000 in panes of 60000000 as of the "
        "out-of-orderness and a minute before"
    }
    (tmp_path / "few.yaml").write_text(text.replace(*changed))
    with pytest.raises(FeatureError, match=told):
        load_features(tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("horizon", "pane"),
    [("1s", 1), ("30s", 1), ("10m", 60), ("45m", 60), ("1h", 300), ("24h", 3_600),
     ("7d", 21_600), ("30d", 86_400)],
)  # fmt: skip
def test_a_horizon_has_ten_panes_or_more(horizon, pane):
    assert pane_of(_micros(horizon)) == pane * 1_000_000


def test_what_has_no_hash_is_no_key_and_is_not_counted_by_its_values(tmp_path):
    columns = {"card": pl.String(), "picture": pl.Binary(), "fraction": pl.Float64()}
    source = Source(columns, frozenset(), "card")
    for name in ("picture", "fraction"):
        (tmp_path / "few.yaml").write_text(GOOD.replace("by: card", f"by: [card, {name}]"))
        with pytest.raises(FeatureError, match="can be no key"):
            load_features(tmp_path, source)
        (tmp_path / "few.yaml").write_text(GOOD.replace("count", f"distinct\nof: {name}"))
        with pytest.raises(FeatureError, match="not counted by its values"):
            load_features(tmp_path, source)


def test_a_condition_that_is_true_of_all_and_a_time_beyond_all_reason(tmp_path):
    (tmp_path / "few.yaml").write_text(GOOD + 'where: "true"\n')
    (few,) = load_features(tmp_path, SOURCE)
    events = pl.DataFrame([{"event_time": EPOCH, "card": "a"}] * 2, schema=COLUMNS)
    made = Features(SOURCE, (few,)).make(0).advance(events)
    assert made["few"].to_list() == [1, 2]
    (tmp_path / "few.yaml").write_text(GOOD.replace("10m", "200000000d"))
    with pytest.raises(FeatureError, match="longer than 100,000 days"):
        load_features(tmp_path, SOURCE)


def test_a_feature_knows_no_column_but_those_of_its_events(tmp_path):
    (tmp_path / "few.yaml").write_text(GOOD)
    with pytest.raises(FeatureError, match="the events have no card"):
        load_features(tmp_path, Source({}, frozenset(), "card"))


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("10m", "401d"), "horizon: labels count within a horizon, of 400 days at the most"),
        (("horizon: 10m\n", ""), "horizon: labels count within a horizon"),
        (("count", "distinct\nof: shop"), "aggregate: from labels there is no distinct"),
        (("count", "count\ninclusive: true"), "inclusive: is of the present event"),
        (("by: shop", "by: tip"), "by: labels have no tip as events have"),
        (("count", "share"), "share is of those for which `where` is true, which is missing"),
        (("count", "count\nwhere: tip > 1"), "where: "),
        (("count", "sum\nof: tip"), "of: the events have no tip"),
    ],
)
def test_from_labels_there_is_what_is_known_of_both(tmp_path, changed, told):
    columns = {name: COLUMNS[name] for name in ("event_time", "shop")}
    labelled = replace(SOURCE, labels=Source(columns, frozenset({"shop"}), "event"))
    text = GOOD.replace("by: card", "from: labels\nby: shop")
    (tmp_path / "few.yaml").write_text(text)
    (few,) = load_features(tmp_path, labelled)
    assert Features(labelled, (few,)).definitions["few"].startswith("1: count() from labels by")
    with pytest.raises(FeatureError, match="from: there are no labels of these events"):
        load_features(tmp_path, SOURCE)
    (tmp_path / "few.yaml").write_text(text.replace(*changed))
    with pytest.raises(FeatureError, match=told):
        load_features(tmp_path, labelled)
