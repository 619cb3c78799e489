"""``millstream model train``: splits in the order of time, a card, and what it refuses."""

import hashlib
import json
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from operators.columns.hashing import hash_strings
from operators.model import load_model, read_card
from ops import cli
from ops.model.examples import Examples
from ops.model.train import Trained, train
from tests.ops.backtest.test_recorded import rows
from tests.ops.model.history import FEATURES, INPUTS

EPOCH = date(1970, 1, 1)
FIRST, LAST = date(2018, 4, 10), date(2018, 5, 10)
DAYS = ("--from", str(FIRST), "--to", str(LAST), "--held", "10")

Train = Callable[..., dict[str, Any]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of features, with what a model is to be made of them."""
    found = tmp_path / "rules"
    (found / "features").mkdir(parents=True)
    for name, text in FEATURES.items():
        (found / "features" / f"{name}.yaml").write_text(text)
    inputs = "".join(f"  {name}: {sql}\n" for name, sql in INPUTS.items())
    stated = f"name: small\nversion: 4\ndescription: A small one.\ninputs:\n{inputs}"
    (found / "model.yml").write_text(stated)
    return found


@pytest.fixture
def trained(folder: Path, capsys: pytest.CaptureFixture[str]) -> Train:
    """Train with some options, and return the card as it is printed."""

    def run(out: Path, *arguments: object) -> dict[str, Any]:
        options = ["--spec", folder / "model.yml", "--rules", folder, "--json", *arguments]
        with pytest.raises(SystemExit) as ended:
            cli.main(["model", "train", *map(str, (out, *options))])
        printed = capsys.readouterr()
        assert ended.value.code == 0, printed.err
        found: dict[str, Any] = json.loads(printed.out)
        assert read_card(out).model_dump() == found
        return found

    return run


@pytest.fixture
def refused(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Train in vain; return what was said, and the exit status."""

    def run(*arguments: object, rules: Path = folder) -> tuple[str, int]:
        options = ["--spec", folder / "model.yml", "--rules", rules, *arguments]
        with pytest.raises(SystemExit) as ended:
            cli.main(["model", "train", *map(str, (tmp_path / "none.onnx", *options))])
        assert not (tmp_path / "none.onnx").exists()
        assert isinstance(ended.value.code, int)
        return capsys.readouterr().err, ended.value.code

    return run


def payments(first: int, last: int) -> pl.DataFrame:
    """Return payments of some days; the large ones at two terminals are frauds."""
    bad = pl.col("terminal_id").is_in([3, 5]) & (pl.col("amount") > 40)
    cards = pl.col("transaction_id") * 7 % 211
    return rows(first, last).with_columns(cards.alias("customer_id"), bad.alias("is_fraud"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The payments of 40 days, of which those at two terminals were frauds for two weeks."""
    rows(0, 40).write_parquet(tmp_path / "file.parquet")
    return tmp_path / "file.parquet"


def test_a_model_of_a_file_knows_earlier_days_and_is_judged_by_later_ones(
    trained: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[Examples, Examples, Examples, Trained, Trained]] = []

    def watched(learn: Examples, stop: Examples, test: Examples) -> tuple[Trained, Trained]:
        seen.append((learn, stop, test, *train(learn, stop, test)))
        return seen[-1][3:]

    monkeypatch.setattr("ops.model.train.train", watched)
    whole = tmp_path / "whole.parquet"
    payments(0, 60).write_parquet(whole)
    out = tmp_path / "made.onnx"
    days = ("--from", "2018-04-10", "--to", "2018-05-05", "--held", "6")
    card = trained(out, "--input", whole, *days, "--test-to", "2018-05-09")
    earlier, held, all_, first, last = seen[0]

    def span(of: Examples) -> tuple[date, date]:
        return EPOCH + timedelta(of.first), EPOCH + timedelta(of.last)

    assert span(held) == (date(2018, 4, 30), date(2018, 5, 5))
    # Labels take seven days: what was known when the held days began is of before those.
    assert span(earlier) == (date(2018, 4, 10), date(2018, 4, 22))
    assert span(all_) == (date(2018, 4, 10), date(2018, 5, 5))
    of = payments(0, 60).with_columns(day=pl.col("event_time").dt.date())
    for each in (earlier, held, all_):
        mine = of.filter(pl.col("day").is_between(*span(each)))
        assert each.inputs.shape == (mine.height, len(INPUTS))
        assert each.fraud.tolist() == mine["is_fraud"].to_list()
        ids = hash_strings(mine["transaction_id"].cast(pl.String))
        assert each.ids.tolist() == ids.tolist()
        amounts = (mine["amount"] * 100).round().to_numpy()
        assert each.inputs[:, 0].tolist() == amounts.astype(np.float32).tolist()
    # The threshold is the one with the best F1 in the held days, by the trees of the earlier ones.
    judged = ~held.events.known
    scores, fraud = first.score(held.inputs)[judged], held.fraud[judged]
    f1 = {
        each: 2 * (fraud & (scores >= each)).sum() / (fraud.sum() + (scores >= each).sum())
        for each in np.unique(scores)
    }
    (best,) = {round(each, 4) for each, value in f1.items() if value == max(f1.values())}
    assert card["threshold"] == pytest.approx(best)
    assert 0 < card["threshold"] < 1

    assert card["trained"] | {"trees": 0, "by": ""} == {
        "on": "whole.parquet", "labels": "is_fraud", "from": "2018-04-10", "to": "2018-05-05",
        "events": len(all_.fraud), "frauds": int(all_.fraud.sum()), "trees": 0, "by": "",
    }  # fmt: skip
    assert card["trained"]["trees"] == last.rounds > 0
    assert (card["name"], card["version"], card["stream"]) == ("small", 4, "payments")
    assert card["inputs"] == INPUTS
    assert {*card["features"]} == {"terminal_frauds_7d", "terminal_24h", "card_count_24h"}
    assert card["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    told = {name: (each["from"], each["to"]) for name, each in card["scores"].items()}
    assert told == {
        "earlier": ("2018-04-10", "2018-04-22"),
        "held": ("2018-04-30", "2018-05-05"),
        "test": ("2018-05-06", "2018-05-09"),
    }
    assert all(each["auc_roc"] is not None for each in card["scores"].values())
    assert card["scores"]["held"]["auc_roc"] > 0.7
    # ONNX says what the trees say, and the same again makes the same file.
    answer, why = load_model(out).answer(frame_of(all_))
    assert why is None
    assert np.abs(answer.to_numpy() - last.score(all_.inputs)).max() < 1e-6
    parts = [tmp_path / "may.parquet", tmp_path / "april.parquet"]
    payments(30, 60).write_parquet(parts[0])
    payments(0, 30).write_parquet(parts[1])
    again = tmp_path / "again.onnx"
    trained(again, "--input", parts[0], "--input", parts[1], *days)
    assert again.read_bytes() == out.read_bytes()


def frame_of(of: Examples) -> pl.DataFrame:
    """Return columns of which the inputs are those of examples."""
    return pl.DataFrame(dict(zip(INPUTS.values(), of.inputs.T, strict=True))).fill_nan(None)


def test_too_little_is_refused(refused: Any, file: Path, tmp_path: Path, folder: Path) -> None:
    given = ("--input", file)
    told, status = refused(*given, "--from", "2018-04-10", "--to", "2018-04-20", "--held", "4")
    assert status == 2
    assert told == (
        "millstream: --from 2018-04-10 to --to 2018-04-20 is too short to hold the last 4 days "
        "back, and 7 days before them, in which labels come\n"
    )
    told, status = refused(*given, *DAYS, "--test-to", str(LAST))
    assert (status, told) == (2, f"millstream: --test-to {LAST} is not behind --to {LAST}\n")
    # All frauds were known to be such before the last days: there is nothing to hold back.
    told, status = refused(*given, "--from", "2018-04-02", "--to", "2018-04-22", "--held", "3")
    assert (status, told) == (
        1, "millstream: there is no fraud in the days of earlier, held, all\n"
    )  # fmt: skip
    told, status = refused(*given, "--from", "2018-04-20", "--to", "2018-06-20")
    assert (status, told) == (
        1, "millstream: there are no payments of 2018-06-07 to 2018-06-20\n"
    )  # fmt: skip
    rows(0, 40).drop("is_fraud").write_parquet(unlabelled := tmp_path / "unlabelled.parquet")
    told, status = refused("--input", unlabelled, *DAYS)
    assert status == 2
    assert "no labels, so only volumes: --labels FILE with payment_id and is_fraud" in told
    told, status = refused("--root", tmp_path / "nowhere", *DAYS)
    assert status == 1
    assert "there is no table " in told
    told, status = refused("--input", file, "--version", 1, *DAYS)
    assert (status, told) == (
        2, "millstream: --input is a file: --version and --root are of tables\n"
    )  # fmt: skip


def test_what_is_no_model_of_these_events_is_refused(
    refused: Any, file: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ("--input", file, *DAYS)
    spec = folder / "model.yml"
    stated = spec.read_text()
    spec.write_text(stated + "  unknown: card_secret + 1\n  text: currency\n")
    told, status = refused(*given)
    assert status == 2
    assert f"{spec}: input unknown: " in told
    assert f"{spec}: input text: 'currency' is of type String, no number" in told
    spec.write_text(stated.replace("version: 4", "version: none"))
    assert refused(*given)[1] == 2
    spec.unlink()
    assert refused(*given) == (f"millstream: {spec}: No such file or directory\n", 2)
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    told = "training needs lightgbm and onnx: pip install 'millstream[train]'"
    assert refused(*given) == (f"millstream: {told}\n", 2)
