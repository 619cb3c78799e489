"""The command `millstream lineage`."""

import json

import pytest

from ops import cli
from tests.flows.test_lineage import SETTINGS


@pytest.fixture
def lineage(monkeypatch, capsys):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["lineage", *arguments])
        return (ended.value.code, *capsys.readouterr())

    return run


def test_flows_are_shown_with_what_they_read_write_and_send(lineage):
    status, text, _ = lineage()
    assert status == 0
    assert "gold/payment_outcomes of chargebacks, paid" in text
    status, text, _ = lineage("--json")
    flows = {each["flow"]: each for each in json.loads(text)}
    assert flows["chargebacks"]["reads"] == ["paid", "chargebacks"]
    assert flows["alerts"]["tables"] == []
    status, text, _ = lineage("--mermaid")
    assert text.startswith("flowchart LR\n")
    assert '  n_paid["paid"] --> flow_payments' in text
    assert '  flow_payments --> n_gold_alerts[("gold/alerts")]' in text


def test_a_table_has_its_columns_and_a_field_all_that_it_goes_into(lineage):
    status, text, _ = lineage("gold/terminal_minute", "--json")
    found = {each["column"]: each for each in json.loads(text)}
    assert (status, found["cards"]["of"]) == (0, ["paid.terminal_id", "paid.card_id"])
    status, text, _ = lineage("paid.latitude", "--json")
    places = {(each["table"], each["column"]) for each in json.loads(text)}
    assert {("silver/payments", "card_speed_kmh"), ("gold/alerts", "score")} <= places
    assert all(table != "gold/terminal_minute" for table, _ in places)
    assert "card_speed_kmh" in lineage("paid.latitude")[1]
    assert lineage("bronze/payments")[0] == 0  # records as they came: no column of a field


def test_a_name_that_nothing_has_is_told_with_where_to_look(lineage):
    status, _, error = lineage("paid.colour")
    assert status == 1
    assert "millstream lineage lists the tables" in error
    assert lineage("gold/alerts", "--mermaid")[0] == 2
