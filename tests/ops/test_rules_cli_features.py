"""Every problem of a feature beside the rules, with its file and line."""

import pytest

from tests.ops.checked_rules import GOOD, check

FEATURE = """\
name: few
version: 1
description: A feature.
by: card_id
horizon: 10m
aggregate: sum
of: amount_minor
where: amount_minor < 200
"""


@pytest.mark.parametrize(
    ("was", "becomes", "line", "problem"),
    [
        ("name: few", "name: many", 1, "its name is many, not the file's"),
        ("name: few", "name: Few", 1, "name: "),
        ("version: 1\n", "", 1, "version: Field required"),
        (
            "by: card_id",
            "lag: 2m\nby: card_id",
            4,
            "is for features by another key than card_id",
        ),
        ("by: card_id", "by: [card_id, nothing]", 4, "the events have no nothing"),
        ("by: card_id", "by: [card_id, latitude]", 4, "can be no key"),
        ("10m", "ten minutes", 5, "'ten minutes' is no time such as"),
        ("10m", "10m\nkept: 5m", 1, "kept is shorter than the horizon"),
        ("horizon: 10m", "kept: 5m", 1, "kept is for a feature with a horizon"),
        ("sum", "total", 6, "aggregate: "),
        ("sum", "count", 1, "count is of no column"),
        ("of: amount_minor\n", "", 1, "sum is of a column"),
        ("of: amount_minor", "of: latitude", 7, "only the sum of integers is the same"),
        ("of: amount_minor", "of: nothing", 7, "the events have no nothing"),
        ("sum\nof: amount_minor", "max\nof: channel", 7, "has no max"),
        ("sum\nof: amount_minor", "distinct\nof: latitude", 7, "not counted by its values"),
        ("horizon: 10m\naggregate: sum", "aggregate: distinct", 1, "distinct needs a horizon"),
        ("amount_minor < 200", "amount_minor <", 8, "where: "),
        ("amount_minor < 200", "amount_minor", 8, "is no condition"),
        ("amount_minor < 200", "amount < 200", 8, "amount"),
        ("amount_minor < 200", "few < 200", 8, "is made of itself, by way of few"),
        ("amount_minor < 200", "amount_minor < avg(amount_minor)", 8, "more than one event"),
        ("amount_minor < 200", "event_time < now()", 8, ""),
        ("version: 1", "version: [1", 3, ""),
        ("version: 1", "nonsense: 1", 2, "nonsense: Extra inputs"),
    ],
)
def test_a_problem_of_a_feature_is_named_with_its_line(
    capsys, tmp_path, was, becomes, line, problem
):
    path = tmp_path / "features" / "few.yaml"
    path.parent.mkdir()
    path.write_text(FEATURE)
    (tmp_path / "good.yaml").write_text(GOOD.replace("amount_minor > 100", "few > 100"))
    assert check(capsys, str(tmp_path)) == (0, ["1 rules, 1 cases, 1 features, 0 problems"])
    assert was in FEATURE
    path.write_text(FEATURE.replace(was, becomes))
    status, told = check(capsys, str(tmp_path))
    assert status == 1
    assert any(each.startswith(f"{path}:{line}: ") and problem in each for each in told), told
    # What is made of it is not there then, and that is said too.
    assert any(each.startswith(f"{tmp_path / 'good.yaml'}:5: ") for each in told)


@pytest.mark.parametrize(
    "name", ["card_count_1h", "card_speed_kmh", "amount_minor", "watermark"]
)
def test_a_feature_may_not_have_the_name_of_a_column_that_there_is(capsys, tmp_path, name):
    path = tmp_path / "features" / f"{name}.yaml"
    path.parent.mkdir()
    path.write_text(FEATURE.replace("few", name))
    status, told = check(capsys, str(tmp_path))
    assert status == 1
    assert "already" in told[0]
