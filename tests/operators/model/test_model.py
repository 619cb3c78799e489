"""Models answer alike whatever the batches, and what goes wrong is no score."""

import json
import sys

import numpy as np
import polars as pl
import pytest

from operators.model import SCORE, Breaker, Model, ModelError, card_of, load_model
from tests.operators.model.made import write

INPUTS = {"cents": "amount", "ratio": "amount / mean", "known": "seen IS NOT NULL"}


def frame(size=500, seed=0):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "amount": rng.integers(-3, 4, size),
            "mean": pl.Series(rng.normal(size=size)).set(
                pl.Series(rng.random(size) < 0.3), None
            ),
            "seen": [None if n % 3 else n for n in range(size)],
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "made.onnx"
    write(path, INPUTS)
    return load_model(path)


def test_scores_do_not_depend_on_how_events_come_in_batches(model):
    rows = frame()
    together = model.score(rows)
    assert (together.name, together.dtype, together.null_count()) == (SCORE, pl.Float64(), 0)
    assert together.is_between(0, 1).all()
    assert together.n_unique() > 20
    for size in (1, 2, 3, 7, 49, 50, 51, 499):
        parts = [model.score(part) for part in rows.iter_slices(size)]
        # To the last bit.
        assert pl.concat(parts).equals(together), size


def test_no_events_have_no_scores(model):
    none = model.score(frame().head(0))
    assert (none.name, none.dtype, len(none)) == (SCORE, pl.Float64(), 0)


class Session:
    """Answers as it is told to."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), 0

    def run(self, _, feed):
        self.asked += 1
        (inputs,) = feed.values()
        answer = self.answers.pop(0) if self.answers else 0.5
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return [answer(len(inputs))]
        return [np.full((len(inputs), 1), answer, np.float32)]


def failing(model, *answers):
    clock = [0.0]
    session = Session(*answers)
    return Model(model.card, session, "input", Breaker(lambda: clock[0])), session, clock


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (RuntimeError("broken"), "runtime: RuntimeError"),
        (lambda n: np.zeros(n + 1), "answer: not one number for each event"),
        (lambda n: np.array([["a"]] * n), "runtime: ValueError"),
        (float("nan"), "answer: not from 0 to 1"),
        (float("inf"), "answer: not from 0 to 1"),
        (1.5, "answer: not from 0 to 1"),
        (-0.1, "answer: not from 0 to 1"),
    ],
)
def test_what_is_no_score_is_none(model, answer, why):
    failed, *_ = failing(model, answer)
    assert failed.score(frame(4)).to_list() == [None] * 4
    assert failed.why == why


def test_of_some_answers_those_that_are_scores_count(model):
    failed, *_ = failing(model, lambda n: np.array([0.0, 1.0, np.nan, 2.0]))
    assert failed.score(frame(4)).to_list() == [0.0, 1.0, None, None]
    assert failed.why is not None


def test_inputs_that_fail_are_a_failure(model):
    card = model.card.model_copy(update={"inputs": {"cents": "CAST(text AS INT)"}})
    failed = Model(card, Session(), "input")
    assert failed.score(pl.DataFrame({"text": ["1", "x"]})).to_list() == [None, None]
    assert failed.why.startswith("inputs: ")


def test_what_fails_again_and_again_is_left_alone_and_tried_again(model):
    broken = RuntimeError("broken")
    failed, session, clock = failing(model, *[broken] * 5)
    for tried in (1, 2, 3, 3, 3):
        assert failed.score(frame(2)).to_list() == [None, None]
        assert session.asked == tried
    assert failed.breaker.open
    clock[0] = 0.99
    failed.score(frame(2))
    assert session.asked == 3
    for at, tried in ((1.0, 4), (2.9, 4), (3.0, 5), (6.9, 5)):
        clock[0] = at
        assert failed.score(frame(2)).to_list() == [None, None]
        assert session.asked == tried
    clock[0] = 7.0
    assert failed.score(frame(2)).to_list() == [0.5, 0.5]
    assert not failed.breaker.open
    # From the beginning: one failure opens nothing.
    session.answers = [broken]
    assert failed.score(frame(2)).to_list() == [None, None]
    assert failed.score(frame(2)).to_list() == [0.5, 0.5]


def test_what_is_slow_has_its_scores_and_is_left_alone(model, monkeypatch):
    monkeypatch.setattr("operators.model.model.SLOW_S", -1.0)
    slow, session, _ = failing(model)
    assert [slow.score(frame(2)).to_list() for _ in range(4)] == [[0.5, 0.5]] * 3 + [[None] * 2]
    assert slow.why.startswith("slow: ")
    assert session.asked == 3


def test_a_wait_is_a_minute_at_the_most():
    now = [0.0]
    breaker = Breaker(lambda: now[0])
    for _ in range(40):
        breaker.failed()
    now[0] = 60.0
    assert breaker.allows()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda path: card_of(path).unlink(), "has no card"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(b"other"), "is not the file that its card is of"),
        (lambda path: card_of(path).write_text("{"), "Invalid JSON"),
        (lambda path: write(path, INPUTS, b"nonsense"), "is no model that can be run"),
        (lambda path: write(path, INPUTS, path.read_bytes(), threshold=2), None),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, change, told):
    path = tmp_path / "made.onnx"
    write(path, INPUTS)
    if told is None:
        with pytest.raises(ValueError, match="threshold"):
            change(path)
        return
    change(path)
    with pytest.raises(ModelError, match=told):
        load_model(path)


def test_a_card_with_other_inputs_is_refused(tmp_path):
    path = tmp_path / "made.onnx"
    write(path, INPUTS)
    stated = json.loads(card_of(path).read_text())
    del stated["inputs"]["known"]
    card_of(path).write_text(json.dumps(stated))
    with pytest.raises(ModelError, match="takes 3 inputs, and its card has 2"):
        load_model(path)


def test_without_the_runtime_it_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "made.onnx"
    write(path, INPUTS)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'millstream\[model\]'"):
        load_model(path)


def test_what_does_not_fit_a_stream_is_named(tmp_path):
    card = write(
        tmp_path / "made.onnx",
        {"a": "amount / 2", "b": "gone + 1", "c": "upper(text)", "d": "max(amount)"},
        features={"amount": "1: sum", "other": "1: of what is not read here"},
    )
    columns = {"amount": pl.Int64(), "text": pl.String()}
    told = card.problems_with("clicks", columns, {"amount": "2: sum"})
    assert [each.split(" ", 2)[:2] for each in told[:3]] == [
        ["input", "b:"],
        ["input", "c:"],
        ["input", "d:"],
    ]
    assert told[3] == "is of payments, not of clicks"
    assert told[4].startswith(
        "was trained on another amount (1: sum) than there is now (2: sum)"
    )
    assert len(told) == 5
