from pathlib import Path

import pytest
import yaml

from flows.streams import PAYMENTS, STREAMS
from flows.streams.models import drafts_of
from operators.rules.cases import run_case
from operators.rules.rules import RuleSet, load_rules
from tests.pages import PAGES
from tests.test_pages import anchors

RULES = load_rules(PAYMENTS.rules)
DRAFTED = PAYMENTS.with_rules(PAYMENTS.rules.parent / "drafts")
DRAFTS = load_rules(PAYMENTS.rules.parent / "drafts")


def test_the_rules_can_be_used_together_on_what_silver_holds():
    assert (
        len(RuleSet(RULES, PAYMENTS.columns, "payment_id", "card_id").rules) == len(RULES) > 0
    )


@pytest.mark.parametrize(
    ("rule", "case"),
    [
        pytest.param(rule, case, id=f"{rule.id}: {case.name}")
        for rule in [*RULES, *DRAFTS]
        for case in rule.cases
    ],
)
def test_every_case_of_every_rule_holds(rule, case):
    stream = DRAFTED if rule in DRAFTS else PAYMENTS
    assert run_case(stream.fixture, rule, case) == case.alerts


def test_what_flows_find_is_live_and_what_is_tried_out_is_a_draft():
    assert {rule.status for rule in RULES} == {"live"}
    assert {rule.status for rule in DRAFTS} == {"draft"}
    # Each of these features is for a draft, or is what analysts ask of labels: silver has none.
    asked = {each.name for each in DRAFTED.added if not each.of_labels}
    added = {each.name for each in DRAFTED.added}
    read = {n for rule in DRAFTS for n in rule.reads} - PAYMENTS.columns.keys()
    assert asked <= read <= added
    assert not {rule.id for rule in RULES} & {rule.id for rule in DRAFTS}


@pytest.mark.parametrize("rule", [*RULES, *DRAFTS], ids=lambda rule: rule.id)
def test_every_rule_has_a_case_that_alerts_and_one_that_does_not(rule):
    assert any(case.alerts for case in rule.cases)
    assert any(not case.alerts for case in rule.cases)


def rule_files() -> list[Path]:
    """Return the files of all rules that come with the project, the drafts included."""
    folders = [folder for each in STREAMS for folder in (each.rules, drafts_of(each)) if folder]
    return sorted(path for folder in folders for path in folder.glob("*.yaml"))


@pytest.mark.parametrize("path", rule_files(), ids=lambda path: path.stem)
def test_each_rule_has_an_owner_and_a_section_that_says_what_to_do(path: Path) -> None:
    rule = yaml.safe_load(path.read_text("utf-8"))
    assert rule["owner"]
    page, _, anchor = rule["runbook"].partition("#")
    assert anchor == rule["id"]
    assert anchor in anchors(PAGES[page])


def test_each_section_is_of_a_rule() -> None:
    sections = anchors(PAGES["docs/rules-runbook.md"]) - {"runbook-of-rules"}
    assert sections == {path.stem for path in rule_files()}
