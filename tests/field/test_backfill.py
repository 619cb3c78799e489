"""Tables that are made anew of bronze, beside those of the flow."""

import json

import pytest

from flows import settings as settings_
from ops import cli
from tests.compare import Difference, read_tables
from tests.field.topic import payment, payments


def run(*arguments: str, capsys) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    return (ended.value.code, *capsys.readouterr())


def test_they_are_row_for_row_those_of_the_flow(field, monkeypatch, capsys):
    field.create(2)
    bad, late = payment(7)[:20], payment(3, payment_id="late")
    field.send(*payments(0, 90), bad, None, *payments(5, 9), partition=0)
    field.send(*payments(100, 190), late, partition=1)
    assert field.flow(STOP_AT_END="true").wait() == 0
    field.send(*payments(191, 260), partition=0)
    field.send(*payments(261, 330), partition=1)
    assert field.flow(STOP_AT_END="true").wait() == 0
    live = settings_.load(field.settings)
    for name, value in field.settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(field.folder)
    into = str(field.folder / "anew")
    status, text, error = run("backfill", "payments", "--into", into, "--json", capsys=capsys)
    assert status == 0, error + (field.folder / "backfill-payments/flow.log").read_text()
    assert json.loads(text)["records"] > 300
    anew = live.model_copy(update={"delta_root": into})
    found = Difference()
    before, after = read_tables(live), read_tables(anew)
    for name, rows in before.items():
        found.add(name, rows, after[name])
    assert found.differences == 0, found.examples
    assert before["silver/payments"].height > 300
