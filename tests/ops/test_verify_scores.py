"""Scores by the models that silver tells, row by row."""

from dataclasses import replace

import polars as pl
import pytest

from flows.streams import PAYMENTS
from operators.connectors.delta.definitions import Told
from operators.model import SCORE, load_model
from ops.verify.scores import Scores, without_lost_models
from tests.operators.model.made import write


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "made.onnx"
    write(path, {"amount": "amount_minor / 100.0", "of": "source_offset"})
    return load_model(path)


def silver(model, size=10):
    rows = pl.DataFrame(
        {
            "source_partition": [0] * size,
            "source_offset": range(size),
            "amount_minor": [37 * n % 300 for n in range(size)],
        },
        {"source_partition": pl.Int32, "source_offset": pl.Int64, "amount_minor": pl.Int64},
    )
    return rows.hstack([model.answer(rows)[0]])


def told(*entries):
    """What silver tells: each text with the last offset that it does not count for."""
    return {
        f"column {SCORE}": [
            Told(text, {}, 0, {("t", 0): last} if last >= 0 else {}) for text, last in entries
        ]
    }


def check(model, history, rows, why=""):
    scores = Scores(replace(PAYMENTS, model=model), why, history, "t")
    # In pieces, as of all at once.
    for piece in (rows[:2], rows[2:]):
        scores.add(piece)
    found = scores.check()
    return found.compared, found.offending, found.deleted, found.because


def test_each_row_is_held_to_the_model_that_scored_it_if_that_is_the_one_at_hand(model):
    mine, rows = model.card.definition, silver(model)
    file = model.card.file
    assert check(model, told((mine, -1)), rows) == (10, 0, 0, "")
    other = "other@2, sha256 00, of {}"
    history = told((mine, -1), (other, 3), (None, 5), (mine, 7))
    some = rows.with_columns(pl.when(~pl.col("source_offset").is_in([2, 6, 7])).then(SCORE))
    said = f"2 scored by other@2, sha256 00, not by {file}; 1 without a score, as the model had"
    assert check(model, history, some) == (5, 0, 3, f"{said} no answer")
    wrong = rows.with_columns(pl.col(SCORE) + pl.lit(1e-16) * 2**40)
    assert check(model, history, wrong)[:3] == (6, 6, 4)


def test_what_cannot_be_asked_is_said_and_holds_nothing_up(model):
    rows = silver(model)
    why = "MILLSTREAM_MODEL names no file that is there"
    mine = told((model.card.definition, 3))
    told_of = f"6 scored by {model.card.file}: {why}"
    # A table of a release that did not name the model has no more to say of what it has.
    older = f"4 scored by a model that silver does not name: {why}"
    assert check(None, mine, rows, why) == (0, 0, 10, f"{older}; {told_of}")


def test_only_the_models_whose_files_are_gone_are_taken_out_of_the_environment(tmp_path):
    there = tmp_path / "there.onnx"
    there.touch()
    environ = {"MILLSTREAM_MODEL": "/gone.onnx", "MILLSTREAM_CLICKS_MODEL": str(there)}
    assert without_lost_models(environ | {"A": "b"}) == {
        "MILLSTREAM_CLICKS_MODEL": str(there), "A": "b"
    }  # fmt: skip
