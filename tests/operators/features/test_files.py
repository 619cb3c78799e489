import pytest

from operators.features import FeatureError, Source, load_features
from tests.operators.features.test_against_the_model import SOURCE

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
    (tmp_path / "a.yaml").write_text(GOOD.replace("few", "a").replace("card", "[shop, card]"))
    (tmp_path / "b.yaml").write_text(GOOD.replace("10m", "soon") + "wehre: amount > 1\n")
    (tmp_path / "c.yaml").write_text("name: [")
    (tmp_path / "d.yaml").write_bytes(b"\xff")
    (tmp_path / "e.yaml").write_text("- a list")
    (tmp_path / "f.yaml").write_text(GOOD.replace("few", "f") + "where: shop\n")
    with pytest.raises(FeatureError) as raised:
        load_features(tmp_path, SOURCE, {"few"})
    told = str(raised.value)
    for text in (
        "features/a.yaml: by: begins with shop, not with card",
        "features/b.yaml: horizon: 'soon' is no time such as 30s, 10m, 24h or 7d",
        "features/b.yaml: wehre: Extra inputs",
        "features/c.yaml: ",
        "features/d.yaml: ",
        "features/e.yaml: ",
        "features/f.yaml: where: 'shop' is no condition",
        "features/few.yaml: there is a column few already",
    ):
        assert text in told


def test_a_feature_knows_no_column_but_those_of_its_events(tmp_path):
    (tmp_path / "few.yaml").write_text(GOOD)
    with pytest.raises(FeatureError, match="the events have no card"):
        load_features(tmp_path, Source({}, frozenset(), "card"))
