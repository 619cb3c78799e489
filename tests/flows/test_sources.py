"""What a flow makes of its topics at the start, against the tables that it finds."""

from pathlib import Path

import pytest

from ops.local import Stack, start_broker
from ops.topics import create_topic
from tests import topics
from tests.running import Flow, run


@pytest.mark.parametrize(
    ("flow", "anew"), [("payments", ""), ("chargebacks", ""), ("chargebacks", ".back")]
)
def test_a_topic_made_anew_is_refused_and_its_records_are_not_dropped(
    stack: Stack, tmp_path: Path, flow: str, anew: str
) -> None:
    """With the recovery store lost as well, only the tables know of the old topic."""
    name, records = tmp_path.name, topics.made(300, partitions=1)
    settings = topics.settings(stack, name, tmp_path) | {"MILLSTREAM_STOP_AT_END": "true"}
    topics.fill(stack.bootstrap, name, records, 1)
    run(flow, settings, tmp_path / "first")
    with start_broker() as other:
        topics.fill(other, name, {s: r for s, r in records.items() if s != anew}, 1)
        create_topic(other, name + anew, 1)
        elsewhere = settings | {"MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": other}
        second = Flow(flow, elsewhere, tmp_path / "second")
        assert second.wait() == 1
    assert f"topic {name}{anew} was made anew (partition 0 ends at 0, but" in second.said()
