"""Showing a status: one screen for a person."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from operators.columns.durations import in_words
from ops.status.flow_status import (
    END,
    CommitStatus,
    FlowStatus,
    Letters,
    Mark,
    Problem,
    Status,
    TopicStatus,
)

_COLOURS: Final = {
    "running": "green",
    "stopped": "yellow",
    "unknown": "yellow",
    "never run": "dim",
}
_CODES: Final = 5
_EPOCHS: Final = 3


def screen(status: Status) -> RenderableType:
    """Return what to print."""
    lines: list[RenderableType] = [f"Millstream at {_time(status.at)}"]
    if status.kafka_away is None:
        lines.append(f"Kafka at {escape(status.kafka)} answers")
    else:
        lines.append(
            f"[red]Kafka at {escape(status.kafka)} does not answer[/]: how much there is to "
            "read is not known"
        )
    lines += _problems(status.problems)
    idle = [each for each in status.flows if each.state == "never run"]
    for each in status.flows:
        if each not in idle:
            lines += _flow(each, status.at)
    if idle:
        names = ", ".join(each.flow for each in idle)
        lines += ["", f"[dim]never run with these settings: {names}[/]"]
    return Group(*lines)


def _flow(flow: FlowStatus, now: datetime) -> Iterator[RenderableType]:
    state = "not known whether it runs" if flow.state == "unknown" else flow.state
    if flow.health is not None and flow.health != state:
        state += f" ({flow.health})"
    newest = flow.commits[0] if flow.commits else None
    about = "" if newest is None else (
        f", Millstream {newest.release}, run {newest.run}, epoch {newest.epoch}"
    )  # fmt: skip
    yield ""
    yield f"[bold]{flow.flow}[/]  [{_COLOURS[flow.state]}]{state}[/]{escape(about)}"
    rows = Table(box=None, show_header=False, pad_edge=False)
    for topic in flow.topics:
        rows.add_row("  topic", escape(_topic(topic)))
    if flow.rate is not None:
        rows.add_row("  rate", _rate(flow, now))
    if flow.mark is not None:
        rows.add_row("  watermark", escape(_mark(flow.mark)))
    if flow.letters is not None:
        rows.add_row("  dead letters", escape(_letters(flow.letters)))
    for title, where in (("recovery store", flow.recovery), ("metrics", flow.metrics)):
        if where is not None:
            rows.add_row(f"  {title}", escape(where))
    yield rows
    if flow.tables:
        yield _tables(flow, now)
    if flow.commits:
        yield f"  last commits  {'; '.join(_epochs(flow))}"
    yield from _problems(flow.problems, "  ")


def _problems(problems: list[Problem], indent: str = "") -> Iterator[RenderableType]:
    for each in problems:
        yield f"{indent}[red]✗[/] {escape(each.problem)}"
        if each.to_do:
            yield f"{indent}  → {escape(each.to_do)}"


def _topic(topic: TopicStatus) -> str:
    text = topic.topic
    if topic.position:
        many = len(topic.position)
        text += f": at offset {sum(topic.position.values()):,}"
        text += f" of {many} partitions together" if many > 1 else ""
        text += f", by the {topic.position_of}"
    if topic.lag is None:
        return f"{text}; how many there are to read is not known"
    if topic.worst is None:
        return f"{text}; 0 to read"
    worst = f"{topic.lag_of(topic.worst):,} of partition {topic.worst}"
    return f"{text}; {topic.lag:,} to read, {worst}"


def _rate(flow: FlowStatus, now: datetime) -> str:
    assert flow.rate is not None  # noqa: S101 # asked before
    rate = flow.rate
    text = f"{rate.records_per_second:,.0f} records/s in {in_words(rate.seconds)}"
    if now - rate.until > timedelta(minutes=1):
        text += f", which ended {in_words((now - rate.until).total_seconds())} ago"
    elif flow.lag and rate.records_per_second:
        text += f"; what there is takes {in_words(flow.lag / rate.records_per_second)}"
    return text


def _mark(mark: Mark) -> str:
    if mark.watermark == END:
        return "at the end of all event time (MILLSTREAM_CLOSE_WINDOWS_AT_END)"
    text = "none yet" if mark.watermark is None else _time(mark.watermark)
    if mark.topic:
        text += f"; {mark.topic}/{mark.partition} is the furthest behind"
        if mark.ahead:
            text += f", by {in_words(mark.ahead)}"
        if mark.held:
            text += f", waited for since {in_words(mark.held)}"
    return text


def _letters(letters: Letters) -> str:
    text = f"{letters.all:,} in {letters.table}, {letters.last_hour:,} in the last hour"
    codes = [
        f"{code} {each['all']:,}" + (f" ({each['last_hour']:,})" if each["last_hour"] else "")
        for code, each in list(letters.codes.items())[:_CODES]
    ]
    if len(letters.codes) > _CODES:
        codes.append("…")
    return text + (f": {', '.join(codes)}" if codes else "")


def _epochs(flow: FlowStatus) -> Iterator[str]:
    """Say of the newest epochs that had rows what they wrote."""
    epochs: dict[tuple[str, int | None], list[CommitStatus]] = {}
    for each in flow.commits:
        epochs.setdefault((each.run, each.epoch), []).append(each)
    for (_, epoch), commits in islice(epochs.items(), _EPOCHS):
        rows = sum(each.rows for each in commits)
        tables = f"{len(commits)} table{'' if len(commits) == 1 else 's'}"
        yield f"{commits[0].at:%H:%M:%S} epoch {epoch}, {rows:,} rows in {tables}"


def _tables(flow: FlowStatus, now: datetime) -> Table:
    table = Table("  table", "version", "files", "rows", "MB", "committed", "newest",
                  box=None, pad_edge=False)  # fmt: skip
    for column in table.columns[1:6]:
        column.justify = "right"
    for column in table.columns:
        column.no_wrap, column.overflow = True, "fold"
    for each in flow.tables:
        age = (
            ""
            if each.committed is None
            else f"{in_words((now - each.committed).total_seconds())} ago"
        )
        table.add_row(
            f"  {each.table}", f"{each.version:,}", f"{each.files:,}", f"{each.rows:,}",
            f"{each.bytes / 1e6:,.1f}", age, "" if each.newest is None else _time(each.newest),
        )  # fmt: skip
    return table


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
