"""Who holds up a flow's watermark, by a clock of the test's own, in epochs of ten seconds."""

from dataclasses import replace

from operators.event_time.holdup import HoldUp
from operators.event_time.multi_topic import MultiTopicWatermark
from operators.records.batches import END_OF_INPUT, NO_WATERMARK, Progress

SECOND = 1_000_000


class Watched:
    """Two partitions of a topic and a hold-up; partition 0 moves on with every epoch."""

    def __init__(self, **other: object) -> None:
        self.flow = MultiTopicWatermark({"t": 2})
        self.hold_up = HoldUp(0.0)
        self.now, self.offset, self.heard = 0.0, 100, -500.0
        self.other = Progress("t", 1, 2, 7, 5 * SECOND, caught_up=True)
        self.change(**other)
        self.said: list[str] = []

    def change(self, heard: float | None = None, **other: object) -> None:
        self.heard = self.heard if heard is None else heard
        self.other = replace(self.other, **other)

    def epochs(self, count: int, *, arrive: int = 1, **other: object) -> list[str]:
        """Return what is said in so many epochs; `other` is what partition 1 has become.

        It has had its last event when it was `heard`.
        """
        said = []
        self.change(**other)
        for _ in range(count):
            self.offset += arrive
            mark = 50 * SECOND + self.offset * SECOND
            self.flow.observe(Progress("t", 0, 2, self.offset, mark, caught_up=True))
            self.flow.observe(replace(self.other, quiet=self.now - self.heard))
            self.now += 10
            self.flow.freeze()
            said += self.hold_up.look(self.flow, self.now)
        return said


def test_one_line_when_it_has_lasted_for_a_minute_one_a_minute_and_one_when_it_is_over():
    watched = Watched(caught_up=False, behind=12)
    assert watched.epochs(6) == []
    (line,) = watched.epochs(1)
    assert line == (
        "the flow's watermark stands at 1970-01-01 00:00:05 UTC since 60 s, and windows wait, for "
        "t/1: 12 records are still to be read"
    )
    assert len(watched.epochs(12)) == 2
    assert watched.hold_up.held is not None
    assert (watched.hold_up.held.partition, watched.hold_up.held.seconds) == (1, 180.0)
    (line,) = watched.epochs(1, watermark=20 * SECOND, caught_up=True, behind=0)
    assert line == ("the flow's watermark goes on after 190 s, at 1970-01-01 00:00:20 UTC")
    assert watched.hold_up.held is None


def test_why_it_waits_is_said():
    def why(**other: object) -> str:
        watched = Watched(**other)
        (line,) = watched.epochs(8)
        return line.partition("t/1: ")[2]

    assert why(caught_up=False, behind=3, blocked=True).startswith(
        "behind offset 7 a transaction is open"
    )
    assert why(caught_up=False) == "its end was not seen since the start"
    assert why(heard=50.0) == "its events are none of them newer than those before"
    assert why() == "it is silent, 560 s now, which is not yet its idle timeout"
    assert why(watermark=NO_WATERMARK, caught_up=False).startswith("its end")


def test_refused_records_are_told_from_silence():
    watched = Watched()
    watched.epochs(1)
    (line,) = watched.epochs(7, offset=9)
    assert "t/1: only refused or repeated records come, 560 s now" in line


def test_where_all_partitions_are_idle_nobody_else_is_to_blame():
    watched = Watched()
    for epoch in range(1, 9):
        for partition in (0, 1):
            watched.flow.observe(
                Progress("t", partition, 2, epoch, 5, idle=True, caught_up=True, quiet=500.0)
            )
        watched.flow.freeze()
        watched.said += watched.hold_up.look(watched.flow, 10.0 * epoch)
    (line,) = watched.said
    assert line.endswith("only refused or repeated records come, and so it is with every other "
                         "partition")  # fmt: skip


def test_a_topic_that_is_read_to_its_end_makes_nobody_wait():
    watched = Watched()
    watched.epochs(1)
    assert watched.epochs(30, arrive=0) == []
    assert watched.hold_up.held is None


def test_a_silent_partition_is_not_blamed_before_a_minute_of_its_own():
    """With a timeout of a minute it is idle in the next epoch, and nobody has waited long."""
    watched = Watched()
    watched.epochs(1, heard=5.0)
    assert watched.hold_up.held is None
    assert watched.epochs(6) == []
    assert watched.hold_up.held is not None
    assert watched.epochs(1, idle=True) == []
    assert watched.hold_up.held is None
    assert watched.flow.current > 50 * SECOND


def test_at_the_end_of_all_time_nothing_is_held_up():
    watched = Watched(watermark=END_OF_INPUT)
    watched.flow.observe(Progress("t", 0, 2, 9, END_OF_INPUT))
    watched.flow.observe(watched.other)
    assert watched.hold_up.look(watched.flow, 500.0) == []
    assert watched.hold_up.look(watched.flow, 900.0) == []
    assert watched.hold_up.held is None
