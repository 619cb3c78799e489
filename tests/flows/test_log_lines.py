"""Log lines as JSON: one object each, with whose it is and the place that it is about."""

import json
import logging
from datetime import UTC, datetime

import pytest

from flows.log_lines import JsonLines, place, silent


def line(
    message: str, *values: object, error: BaseException | None = None
) -> dict[str, object]:
    told = (type(error), error, None) if error else None
    record = logging.LogRecord(
        "millstream.kafka", logging.WARNING, "", 1, message, values, told
    )
    (only,) = JsonLines("payments").format(record).splitlines()
    return json.loads(only)


def test_a_line_has_whose_it_is_and_the_place_that_it_names() -> None:
    said = line("the watermark waits for %s/%d:\nits „end“ was not seen", "pay.ments", 3)
    assert datetime.fromisoformat(str(said.pop("time"))).tzinfo == UTC
    assert said == {
        "level": "WARNING",
        "logger": "millstream.kafka",
        "flow": "payments",
        "process": 0,
        "message": "the watermark waits for pay.ments/3:\nits „end“ was not seen",
        "topic": "pay.ments",
        "partition": 3,
    }


def test_an_error_is_in_the_line_of_who_tells_it() -> None:
    assert (
        line("failed", error=ValueError("two\nlines"))["exception"] == "ValueError: two\nlines"
    )


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("record payments/2/17 breaks amount_range", ("payments", 2, 17)),
        ("payments/0: 5 records, then clicks/1", ("payments", 0)),
        ("gold/late: commit failed", ()),
        ("at /var/lib/7/x", ()),
        ("Redis at redis://host/0", ()),
        ("12/30 s", ("12", 30)),
    ],
)
def test_places_are_told_from_tables_and_paths(message: str, named: tuple[object, ...]) -> None:
    assert tuple(place(message).values()) == named


def test_what_a_tool_silences_is_heard_again_when_it_has_ended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("millstream.kafka")

    @silent()
    def tool() -> None:
        logger.warning("in the answer")
        raise SystemExit(2)

    with pytest.raises(SystemExit):
        tool()
    logger.warning("heard")
    assert caplog.messages == ["heard"]
