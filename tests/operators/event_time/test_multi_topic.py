import pytest

from operators.event_time.multi_topic import MultiTopicWatermark
from operators.records.batches import NO_WATERMARK, Progress

SIZES = {"payments": 2, "chargebacks": 1}


def at(topic: str, partition: int, watermark: int, idle: bool = False) -> Progress:
    return Progress(topic, partition, SIZES[topic], 0, watermark, idle)


def heard(*, idle: bool = False) -> MultiTopicWatermark:
    joint = MultiTopicWatermark(SIZES)
    for progress in (
        at("payments", 0, 50),
        at("payments", 1, 40),
        at("chargebacks", 0, 7, idle),
    ):
        joint.observe(progress)
    return joint


def test_it_is_the_minimum_over_all_partitions_of_all_topics():
    assert heard().current == 7


def test_it_waits_for_every_partition_of_every_topic():
    joint = MultiTopicWatermark(SIZES)
    joint.observe(at("payments", 0, 50))
    joint.observe(at("chargebacks", 0, 50))
    assert joint.current == NO_WATERMARK


def test_a_topic_that_is_wholly_idle_stops_holding_the_other_back_from_a_snapshot_on():
    joint = heard(idle=True)
    assert joint.current == 7
    joint.freeze()
    assert joint.current == 40
    assert joint.floors("chargebacks") == {0: 40}
    assert joint.floors("payments") == {}
    assert joint.floors("unknown") == {}


def test_a_thawed_one_goes_on_where_it_was():
    joint = heard(idle=True)
    again = MultiTopicWatermark.thaw(SIZES, joint.freeze())
    assert again.current == joint.current == 40
    assert again.floors("chargebacks") == {0: 40}
    again.observe(at("payments", 1, 60))
    assert again.current == 40
    again.observe(at("chargebacks", 0, 70))
    assert again.current == 50


def test_partitions_may_be_added_to_either_topic():
    state = heard().freeze()
    grown = {"payments": 3, "chargebacks": 2}
    again = MultiTopicWatermark.thaw(grown, state)
    assert again.current == NO_WATERMARK
    for topic, partition in (("payments", 2), ("chargebacks", 1)):
        again.observe(Progress(topic, partition, grown[topic], 0, 90))
    assert again.current == 7
    assert again.floors("chargebacks") == {1: 7}


def test_a_topic_that_was_not_announced_is_an_error():
    with pytest.raises(KeyError):
        MultiTopicWatermark({"payments": 1}).observe(at("chargebacks", 0, 1))
