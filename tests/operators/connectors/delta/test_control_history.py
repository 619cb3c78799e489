from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from operators.connectors.delta.control_history import CONTROL, ControlHistory
from operators.control.changes import DELAY, written
from operators.control.records import ControlRecord


def record(offset: int, value: float | None, topic: str = "t") -> ControlRecord:
    key, text = written("threshold", "review", value, "eve", f"because {offset}")
    return ControlRecord(offset, 1_000_000 * offset, key, text, topic)


def test_each_record_is_kept_once_by_its_topic_and_told_with_what_it_says(
    tmp_path: Path,
) -> None:
    first = ControlHistory(str(tmp_path), "payments", "t")
    assert first.records() == []
    # Who began before the other has ended has the same ones to write.
    first.add([record(0, 1.0), record(4, None)])
    ControlHistory(str(tmp_path), "payments", "t").add([record(0, 1.0), record(4, None)])
    wrong = ControlRecord(6, 0, None, b"\xff", "t")
    first.add([record(4, None), record(5, 2.5), wrong])
    first.add([record(5, 2.5)])
    ControlHistory(str(tmp_path), "clicks", "c").add([record(0, 9.0, "c")])
    # A topic that was made anew goes on behind what the old one has changed.
    anew = ControlHistory(str(tmp_path), "payments", "anew")
    anew.add([record(0, 3.0, "anew")])
    known = [record(0, 1.0), record(4, None), record(5, 2.5), wrong]
    assert anew.records() == [*known, record(0, 3.0, "anew")]
    assert first.records() == [record(0, 3.0, "anew"), *known]

    rows = pl.read_delta(str(tmp_path / CONTROL.name)).filter(topic_id="t").sort("offset")
    assert rows["why"].to_list() == ["because 0", "because 4", "because 5", None]
    assert rows["refused"].to_list() == [None] * 3 + ["its value is no JSON"]
    assert rows["name"].to_list() == ["review"] * 3 + [None]
    begins = datetime.fromtimestamp(5 + DELAY / 1e6, UTC)
    assert rows["effective_from"].to_list()[2:] == [begins, None]
