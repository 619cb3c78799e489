"""Settings that would undo what the flow promises are refused by the names that people gave."""

from tests.field.topic import Field


def test_settings_that_skip_records_or_read_back_dead_letters_are_named_all_at_once(
    field: Field,
) -> None:
    """`auto.offset.reset=earliest` skips, without a word, what retention deleted unread."""
    flow = field.flow(
        KAFKA_AUTO_OFFSET_RESET="earliest",
        KAFKA_ISOLATION_LEVEL="read_uncommitted",
        KAFKA_SASL_PASWORD="hunter2",
        KAFKA_SSL_KEY_PASSWORD="correct horse",
        KAFKA_LINGER_MS="soon",
        KAFKA_FETCH_MIN_BYTES="1",
        KAFKA_ACKS="all",
        DLQ_TOPIC=field.topic,
        DELTA_ROOT=str(field.folder / "state"),
    )
    assert flow.wait() == 2
    said = flow.said()
    lines = [line.removeprefix("millstream: MILLSTREAM_") for line in said.splitlines()]
    assert [line.split(":")[0] for line in lines] == [
        "KAFKA_AUTO_OFFSET_RESET", "KAFKA_ISOLATION_LEVEL", "KAFKA_LINGER_MS",
        "KAFKA_SASL_PASWORD", "DLQ_TOPIC", "DELTA_ROOT",
    ]  # fmt: skip
    assert "skips them without a word" in lines[0]
    assert "MILLSTREAM_START" in lines[0]
    assert lines[3].endswith("librdkafka has no such setting")
    assert lines[4].startswith(f"DLQ_TOPIC: {field.topic!r} is MILLSTREAM_TOPIC as well")
    assert "lies in it" in lines[5]
    for secret in ("hunter2", "correct horse", "soon"):
        assert secret not in said


def test_settings_that_do_not_go_together_are_refused_without_a_secret(field: Field) -> None:
    flow = field.flow(KAFKA_SECURITY_PROTOCOL="ssl", KAFKA_SSL_KEY_PEM="no such key")
    assert flow.wait() == 2
    (line,) = flow.said().splitlines()
    assert line.startswith("millstream: MILLSTREAM_KAFKA_…: librdkafka says: ")
    assert "MILLSTREAM_KAFKA_SSL_KEY_PEM" in line
    assert "no such key" not in line
