"""A rule that has gone silent is told, and goes on."""

import logging
import time
from typing import Any

import pytest

from flows.pausing import Pausing
from tests.operators.control.test_hit_rates import frame
from tests.operators.rules.samples import rule

QUIET = rule(bounds={"least_per_1000": 300, "over": "5m", "at_least": 4})


def test_a_silent_rule_is_no_reason_for_a_change(caplog: pytest.LogCaptureFixture) -> None:
    class Nobody:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name}: nothing is to be asked or changed")

    nobody: Any = Nobody()
    pausing = Pausing(nobody, "control", nobody)
    now = time.time_ns() // 1000
    with caplog.at_level(logging.ERROR, logger="millstream.control"):
        for minutes in ([1, 1, 1], [7, 7, 7, 8], [8, 9]):
            pausing.judged([QUIET], frame(minutes, now), frame([], now))
    (said,) = (each.getMessage() for each in caplog.records)
    assert said == ("rule r goes on, and is silent: 0 of 4 within 5m, fewer than 300 of 1,000")
