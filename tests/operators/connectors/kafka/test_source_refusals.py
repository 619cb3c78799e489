"""What a Kafka source refuses, against the local broker: nothing is skipped in silence."""

import pytest
from confluent_kafka import KafkaError

from operators.connectors.kafka.client import EndedError, OffsetGoneError
from operators.records.batches import END_OF_INPUT
from tests.operators.connectors.partitions import poll, read


@pytest.mark.parametrize("stop_at_end", [True, False])
def test_records_behind_an_end_that_closed_every_window_are_refused(
    send, open_part, stop_at_end
):
    send(b"0")
    part = open_part(stop_at_end=True, close_windows=True)
    poll(part, lambda found: found and found[-1].progress.watermark == END_OF_INPUT)
    state = part.snapshot()
    quiet = open_part(state, stop_at_end=True, close_windows=True)
    poll(quiet, lambda found: found and found[-1].progress.watermark == END_OF_INPUT)
    assert quiet.snapshot() == state, "nothing new, so it has ended again"
    send(b"1")
    with pytest.raises(EndedError, match="new records"):
        read(open_part(state, stop_at_end=stop_at_end), 1)


def test_an_offset_beyond_the_end_is_an_error_and_nothing_is_skipped(
    send, open_part, monkeypatch
):
    # The local broker does not say that an offset is out of range.
    monkeypatch.setattr("operators.connectors.kafka.source._DOUBT_SECONDS", 0.1)
    send(b"0")
    with pytest.raises(OffsetGoneError, match="empty recovery directory"):
        read(open_part({"version": 1, "offset": 50, "ended": False}), 1)


class Refusal:
    """What librdkafka reports where Kafka has no such offset."""

    def __init__(self, code: int) -> None:
        self._error = KafkaError(code)

    def error(self):
        return self._error


@pytest.mark.parametrize(
    "code", [KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE]
)
def test_an_offset_that_retention_has_deleted_is_an_error(open_part, code):
    part = open_part({"version": 1, "offset": 5, "ended": False})
    with pytest.raises(OffsetGoneError, match=r"offset 5 is not in the topic.*not skipped"):
        part._heed([Refusal(code)])


def test_any_other_error_stops_the_flow_so_that_it_resumes(topic, open_part):
    part = open_part({"version": 1, "offset": 5, "ended": False})
    with pytest.raises(RuntimeError, match=f"may not READ topic '{topic}'"):
        part._heed([Refusal(KafkaError.TOPIC_AUTHORIZATION_FAILED)])
