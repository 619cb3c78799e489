"""Records as other producers write them, read by a process that is set up as others are."""

import pytest
from confluent_kafka import Producer

from flows import settings as settings_
from ops.verify import verify
from tests.field.topic import Field, payments
from tests.ops.reports import broken

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ENVIRONMENT = {
    "TZ": "Asia/Kolkata",
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "HOME": "/nowhere",
    "TMPDIR": "/nowhere",
}


def test_every_codec_a_compacted_source_another_time_zone_and_no_home(
    field: Field, monkeypatch: pytest.MonkeyPatch
) -> None:
    field.create(2, **{"cleanup.policy": "compact"})
    for number, codec in enumerate(CODECS):
        producer = Producer(
            {"bootstrap.servers": field.bootstrap, "compression.type": codec, "log_level": 0}
        )
        values = [*payments(50 * number, 50 * number + 49), b"x" * 900_000]
        for at, value in enumerate(values):
            producer.produce(field.topic, value, key=f"{codec}-{at}", partition=number % 2)
        assert producer.flush(30) == 0
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    flow = field.flow(STOP_AT_END="true")
    assert flow.wait() == 0, flow.said()
    assert field.table("silver/payments").height == 50 * len(CODECS)
    assert field.table("quarantine/payments").height == len(CODECS)
    assert broken(verify(settings_.load(field.settings))) == []
