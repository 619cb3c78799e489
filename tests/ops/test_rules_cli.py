"""Every problem of every rule at once, with its file and line; and the list of streams."""

import json
from pathlib import Path

import pytest

from flows.streams import CLICKS, PAYMENTS, STREAMS
from ops import cli

GOOD = """\
id: good
version: 1
description: A rule.
severity: low
when: amount_minor > 100
score: amount_minor / 10
reason: "{amount_minor} is over 100"
cases:
  - name: over
    payments:
      - {amount_minor: 101}
    alerts: [1]
"""


def check(capsys, *arguments: str) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "check", *arguments])
    return ended.value.code, capsys.readouterr().out.splitlines()


def test_the_rules_of_every_stream_are_right(capsys):
    status, (told,) = check(capsys)
    rules = sum(len(list(each.rules.glob("*.yaml"))) for each in STREAMS if each.rules)
    assert status == 0
    assert told.startswith(f"{rules} rules, ")
    assert told.endswith(" 0 problems")


@pytest.mark.parametrize(
    ("was", "becomes", "line", "problem"),
    [
        ("id: good", "id: other", 1, "its id is other, not the file's name"),
        ("version: 1", "version: 0", 2, "version: "),
        ("severity: low\n", "", 1, "severity: Field required"),
        ("severity: low", "severity: huge", 4, "severity: "),
        ("amount_minor > 100", "amount > 100", 5, "amount"),
        ("amount_minor > 100", "amount_minor >", 5, ""),
        ("amount_minor > 100", "amount_minor > max(amount_minor)", 5, "more than one event"),
        ("amount_minor / 10", "nothing / 10", 6, "nothing"),
        ("{amount_minor} is", "{amont} is", 7, "amont"),
        ("alerts: [1]", "alerts: []", 9, "rule good, over: alerts at [1], not []"),
        ("amount_minor: 101", "amonut: 101", 9, "payment 1: amonut: no field of a case"),
        ("name: over", "nam: over", 9, "cases.0.nam"),
        ("version: 1", "version: [1", 3, ""),
    ],
)
def test_a_problem_is_named_with_its_line(capsys, tmp_path, was, becomes, line, problem):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert check(capsys, str(tmp_path)) == (0, ["1 rules, 1 cases, 0 problems"])
    path.write_text(GOOD.replace(was, becomes))
    status, told = check(capsys, str(tmp_path))
    assert status == 1
    assert any(each.startswith(f"{path}:{line}: ") and problem in each for each in told), told


def test_all_problems_of_all_files_are_named_and_as_json_too(capsys, tmp_path: Path):
    (tmp_path / "a.yaml").write_text(GOOD.replace("low", "huge"))
    (tmp_path / "b.yaml").write_text(GOOD.replace("good", "b").replace("[1]", "[]"))
    (tmp_path / "good.yaml").write_text(GOOD)
    status, told = check(capsys, "--json", str(tmp_path))
    found = json.loads("\n".join(told))
    assert status == 1
    assert found["rules"] == 3
    assert {Path(each["file"]).name for each in found["problems"]} == {"a.yaml", "b.yaml"}


def test_a_folder_is_of_the_stream_that_is_named(capsys, tmp_path):
    assert check(capsys, "--stream", "clicks", str(CLICKS.rules))[0] == 0
    assert check(capsys, "--stream", "clicks", str(PAYMENTS.rules))[0] == 1
    assert check(capsys, str(tmp_path / "nowhere"))[0] == 2


def test_streams_are_listed_with_what_they_are_of(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["streams", "--json"])
    assert ended.value.code == 0
    found = {each["stream"]: each for each in json.loads(capsys.readouterr().out)}
    assert found.keys() == {"payments", "chargebacks", "clicks"}
    assert found["clicks"]["rules"] == {"costly_click": 1}
    assert "gold/campaign_5m" in found["clicks"]["tables"]
    with pytest.raises(SystemExit):
        cli.main(["streams"])
    text = capsys.readouterr().out
    for stream in STREAMS:
        assert all(table.name in text for table in stream.all_tables)
