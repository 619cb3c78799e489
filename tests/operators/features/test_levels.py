"""Features over features, against a loop that works out one after the other."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.features import Feature, FeatureError, Features
from operators.features.files import load_features
from operators.features.keeps import VERSION
from tests.operators.durable import NOTHING, epoch_ends
from tests.operators.features.test_against_the_model import (
    SOURCE,
    WHERES,
    events,
    features,
    run,
    value_of,
)

OVER = {
    "{0} IS NULL OR amount > 2 * {0}": lambda row, of: (
        row[of] is None or row["amount"] > 2 * row[of]
    ),
    "{0} > 1 AND amount < 200": lambda row, of: (row[of] or 0) > 1 and row["amount"] < 200,
}
NUMBERS = ("count", "sum", "mean", "distinct", "seconds_since")


def over(name, read, where, **stated):
    return Feature.model_validate(
        {"name": name, "version": 1, "description": "-", "by": "card", "aggregate": "count"}
        | {"where": where.format(read)} | stated
    )  # fmt: skip


@st.composite
def chains(draw):
    """Features, then some that read one of those before them, each with what it reads."""
    found = [(each, None) for each in draw(features())]
    for number in range(draw(st.integers(1, 3))):
        of = draw(st.sampled_from([each for each, _ in found]))
        if of.aggregate not in NUMBERS:
            continue
        where = draw(st.sampled_from(sorted(OVER)))
        stated = {
            "by": draw(st.sampled_from(["card", ["card", "shop"]])),
            "horizon": draw(st.sampled_from([None, "2m", "24h"])),
        }
        if draw(st.booleans()):
            stated |= {"aggregate": "mean", "of": "amount"}
        found.append((over(f"g{number}", of.name, where, **stated), (where, of.name)))
    return found


def expected(chain, rows, wheres):
    rows = [dict(row) for row in rows]
    for feature, reads in chain:
        if reads is not None:
            where, of = reads
            wheres[feature.where] = lambda row, w=where, o=of: OVER[w](row, o)
        told = [value_of(feature, rows, i) for i in range(len(rows))]
        for row, value in zip(rows, told, strict=True):
            row[feature.name] = value
    return rows


@given(
    chains(),
    events(max_size=16),
    st.lists(st.integers(1, 16), max_size=4),
    epoch_ends,
    st.randoms(),
)
def test_what_reads_features_sees_them_as_each_event_had_them(chain, rows, cuts, ends, random):
    stated = [feature for feature, _ in chain]
    random.shuffle(stated)
    made = run(tuple(stated), rows, cuts, ends)
    known = dict(WHERES)
    try:
        told = expected(chain, rows, WHERES)
    finally:
        WHERES.clear()
        WHERES.update(known)
    for feature, _ in chain:
        assert made[feature.name].to_list() == [row[feature.name] for row in told], feature
    assert made.equals(run(tuple(stated), rows, (), NOTHING))


def test_a_state_lacks_what_reads_a_feature_that_has_changed():
    def keeps(few):
        base = over("few", "amount", few)
        return Features(SOURCE, (base, over("many", "few", "{0} > 2"))).keeps

    head = keeps("{0} < 200").head() | {"version": VERSION}
    assert keeps("{0} < 200").lacking(head) == ()
    assert set(keeps("{0} < 100").lacking(head)) == {"few", "many"}


def test_definitions_tell_what_is_read():
    (text,) = {
        Features(SOURCE, (over("few", "amount", where), over("many", "few", "{0} > 2")))
        .definitions["many"]
        .replace(where.format("amount"), "…")
        for where in ("{0} < 200", "{0} < 100")
    }
    assert text.endswith("given few = (count() by card of all exclusive where …)")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a": ("card", "a > 1")}, "a.yaml: where: is made of itself, by way of a"),
        ({"a": ("card", "b > 1"), "b": ("card", "a > 1")}, "made of itself, by way of b"),
        ({"a": ("card", "b > 1"), "b": ("shop", "amount > 1")}, "b is by another key or from"),
        ({"a": ("shop", "b > 1"), "b": ("shop", "amount > 1")}, "b is by another key or from"),
        ({"a": ("card", "c > 1")}, 'unable to find column "c"'),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(tmp_path: Path, files, told):
    for name, (by, where) in files.items():
        (tmp_path / f"{name}.yaml").write_text(
            f"{{name: {name}, version: 1, description: '-', by: {by}, aggregate: count, "
            f"horizon: 10m, where: {where}}}"
        )
    with pytest.raises(FeatureError) as raised:
        load_features(tmp_path, SOURCE)
    assert told in str(raised.value)


def test_what_is_by_another_key_may_read_what_is_by_the_topics(tmp_path: Path):
    own = over("few", "amount", "{0} < 200")
    shop = over("shop_few", "few", "{0} > 1", by="shop", horizon="10m")
    both = Features(SOURCE, (own, shop))
    assert list(both.columns) == ["shop_few", "few"]
    assert "given few = (" in both.definitions["shop_few"]
    assert "given few = (" in both.questions[0].lanes[0].name
