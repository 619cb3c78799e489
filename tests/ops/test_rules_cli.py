"""Every problem of every rule at once, with its file and line."""

import json
import re
from pathlib import Path

import pytest

from flows import settings as settings_
from flows.loading import rules_of
from flows.streams import CLICKS, PAYMENTS, STREAMS
from operators.rules.rules import RuleError
from ops import cli
from tests.flows.test_settings import NEEDED
from tests.ops.checked_rules import COST, GOOD, check


def test_the_rules_of_every_stream_are_right(capsys):
    status, (told,) = check(capsys)
    rules = sum(len(list(each.rules.glob("*.yaml"))) for each in STREAMS if each.rules)
    assert status == 0
    assert told.startswith(f"{rules} rules, ")
    assert told.endswith(" 8 features, 0 problems")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("review: 50", "block: Field required"),
        ("review: 50\nblock: 40", "what is blocked is below what is reviewed"),
        ("review: 0\nblock: 40", "review: Input should be greater than 0"),
        ("review: 5\nblock: 40\nmodel_block: 1.5", "model_block: Input should be less than or"),
        ("review: 5\nblock: 40\nblok: 1", "blok: Extra inputs are not permitted"),
        ("review: [", "decisions/thresholds.yaml: "),
    ],
)
def test_thresholds_that_are_none_are_named_and_refused_at_the_start(
    capsys, tmp_path, text, problem
):
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "decisions").mkdir()
    (tmp_path / "decisions" / "thresholds.yaml").write_text(text)
    status, lines = check(capsys, str(tmp_path))
    assert status == 1
    assert any(problem in line for line in lines)
    assert lines[0].startswith(f"{tmp_path}:1: decisions/thresholds.yaml: ")
    settings = settings_.load(NEEDED | {"MILLSTREAM_RULES": str(tmp_path)})
    with pytest.raises(RuleError, match=r"^decisions/thresholds.yaml: "):
        rules_of(PAYMENTS, settings)


def test_it_says_what_each_right_rule_costs(capsys, tmp_path):
    for name, when in {
        "good": "amount_minor > 100",
        "wrong": "amount > 100",
        "dear": "payment_id IN ('" + "', '".join(map(str, range(3_000))) + "')",
        # Of texts that are made up nobody knows which are numbers.
        "failing": "CAST(terminal_id AS BIGINT) > 100",
    }.items():
        text = GOOD.replace("good", name).replace("amount_minor > 100", when)
        text = text if name == "good" else text.replace("alerts: [1]", "alerts: []")
        if name == "failing":
            text = text.replace("{amount_minor: 101}", "{terminal_id: '7'}")
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(SystemExit) as ended:
        cli.main(["rules", "check", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    told = [found[1] for line in lines if (found := COST.fullmatch(line))]
    assert told == ["dear", "failing", "good"]
    assert "failing: unknown per 1,000 events, no case in which it alerts" in lines
    assert not any("no case" in line for line in lines if line.startswith("good: "))
    with pytest.raises(SystemExit) as again:
        cli.main(["rules", "check", "--json", str(tmp_path)])
    told_of = json.loads(capsys.readouterr().out)
    assert told_of["without_a_hit"] == ["dear", "failing"]
    costs = told_of["cost_us_per_1000_events"]
    assert ended.value.code == again.value.code == 1
    assert costs.keys() == set(told)
    assert costs["failing"] is None
    assert costs["dear"] > costs["good"] > 0


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
        ("name: over", "nam: over", 9, "nam: no field of a case; name?"),
        ("version: 1", "version: [1", 3, ""),
        ("severity: low", "sevrity: low", 4, "sevrity: no field of a rule; severity?"),
        ("severity: low", "severity: low\nstatus: life", 5, "status: Input should be 'draft'"),
        ("severity: low", "severity: low\nstatus:", 5, "status: Input should be 'draft'"),
        ("severity: low", "severity: low\nrollout: 25", 5, "rollout: no share of keys such as"),
        (
            "severity: low",
            "severity: low\nrollout: 0.25",
            5,
            "rollout: no share of keys such as",
        ),
        (
            "severity: low",
            "severity: low\nrollout: 101%",
            5,
            "rollout: no share of keys such as",
        ),
        (
            "severity: low",
            "severity: low\nrollout: 0.0%",
            5,
            "rollout: for nobody: say so with",
        ),
        ("severity: low", "severity: low\nrunbook: ask me", 5, "runbook: no address such as"),
        ("severity: low", "severity: low\nowner: ''", 5, "owner: "),
        (
            "severity: low",
            "severity: low\naction: decline",
            5,
            "action: Input should be 'approve'",
        ),
    ],
)
def test_a_problem_is_named_with_its_line(capsys, tmp_path, was, becomes, line, problem):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    assert check(capsys, str(tmp_path)) == (0, ["1 rules, 1 cases, 0 features, 0 problems"])
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


def test_all_that_one_file_has_wrong_is_told_at_once(capsys, tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("severity: low", "severty: low\nstatus: on\nrollout: 5"))
    _, told = check(capsys, str(tmp_path))
    lines = [each.removeprefix(f"{path}:").partition(": ")[::2] for each in told[:-1]]
    assert {(int(line), text.partition(":")[0]) for line, text in lines} == {
        (1, "severity"), (4, "severty"), (5, "status"), (6, "rollout")
    }  # fmt: skip


def test_it_says_of_each_rule_its_status_and_whose_it_is(capsys, tmp_path, monkeypatch):
    for name, more in {
        "good": "",
        "new": "\nstatus: draft\nowner: fraud team\nrunbook: https://wiki.example/new",
        "some": "\nrollout: 12.5%\naction: block",
    }.items():
        text = GOOD.replace("good", name).replace("severity: low", "severity: low" + more)
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(SystemExit):
        cli.main(["rules", "check", str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [COST.fullmatch(line)[2] for line in lines[:-1]] == [
        None, " (draft, fraud team)", " (live for 12.5%)"
    ]  # fmt: skip
    _, told = check(capsys, "--json", str(tmp_path))
    details = json.loads("\n".join(told))["rule_details"]
    assert details["new"] == {
        "version": 1, "description": "A rule.", "status": "draft", "rollout": None,
        "owner": "fraud team", "runbook": "https://wiki.example/new", "severity": "low",
        "action": "review",
    }  # fmt: skip
    monkeypatch.setenv("MILLSTREAM_RULES", str(tmp_path))
    with pytest.raises(SystemExit):
        cli.main(["streams"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "good v1, new v1 (draft, fraud team), some v1 (live for 12.5%)" in shown
    with pytest.raises(SystemExit):
        cli.main(["streams", "--json"])
    (payments,) = (s for s in json.loads(capsys.readouterr().out) if s["stream"] == "payments")
    assert payments["rules"] == {"good": 1, "new": 1, "some": 1}
    assert payments["rule_details"] == details


def test_a_folder_is_of_the_stream_that_is_named(capsys, tmp_path):
    assert check(capsys, "--stream", "clicks", str(CLICKS.rules))[0] == 0
    assert check(capsys, "--stream", "clicks", str(PAYMENTS.rules))[0] == 1
    assert check(capsys, str(tmp_path / "nowhere"))[0] == 2


def test_every_field_of_a_rule_is_told_and_a_file_that_is_not_utf8(capsys, tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD.replace("amount_minor", "nothing"))
    (tmp_path / "latin.yaml").write_bytes(
        GOOD.replace("A rule.", "Une règle.").encode("latin-1")
    )
    status, lines = check(capsys, str(tmp_path))
    assert status == 1
    places = [re.search(r"(\w+)\.yaml:(\d+): (.*)", line) for line in lines]
    told = [(place[1], int(place[2]), place[3]) for place in places if place]
    assert [each[:2] for each in told] == [("good", 5), ("good", 6), ("good", 7), ("latin", 3)]
    assert all("nothing" in each[2] for each in told[:3])
    assert told[3][2].startswith("is not UTF-8")
