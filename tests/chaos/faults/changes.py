"""Rules, lists, thresholds and labels that change while the flow runs and is killed."""

import contextlib
from dataclasses import replace
from typing import Final

import polars as pl

from tests.chaos.faults.processes import NOT_PASSED, kill_at, kill_some_time
from tests.chaos.faults.watching import count, tended
from tests.chaos.feed import Feed
from tests.chaos.flow import Flow, Shape
from tests.chaos.worker import CONTROL_POINTS, POINTS
from tests.chaos.world import FOR_EVER, Result, World
from tests.compare import Difference
from tests.topics import TO_THE_END

_SHAPES: Final = ((3, 1), (2, 2), (1, 1))
"""Processes, and threads of each; the kills are shared out among them."""

_PATIENCE: Final = 10.0
"""Seconds for a point to be passed; where little comes some are seldom."""

_OF_RULES: Final = ("alerts_topic", "decisions_topic")


def kill(world: World, result: Result, times: int) -> None:
    """`kill -9` while all changes, of each shape a share; then all of it undisturbed."""
    for number, (processes, threads) in enumerate(_SHAPES, 1):
        shape = Shape(min(processes, world.largest), threads)
        # Where there are few of them the first has what cannot be shared out.
        wanted = times - times // len(_SHAPES) * (len(_SHAPES) - number)
        while result.times < wanted and not result.problems:
            _changed(world, result, wanted, shape)


def _changed(world: World, result: Result, wanted: int, like: Shape) -> None:
    luck, late = world.luck, result.runs % 3 == 2
    feed = Feed(world, f"changed{result.runs}", late=late)
    flow = world.flow("changes", **feed.environ, **FOR_EVER)
    points: list[str] = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(tended(world, flow, result))
        stack.enter_context(feed)
        while result.times < wanted and not feed.ended:
            drawn = world.shape()
            shape = replace(like, batch=drawn.batch, epoch=drawn.epoch)
            if result.times % 2:
                points = points or luck.sample([*POINTS, *CONTROL_POINTS], 9)
                name = points.pop()
                how, ended = f"at: {name}", kill_at(flow, shape, name, luck, patience=_PATIENCE)
            else:
                how, ended = "at a random time", kill_some_time(flow, shape, luck)
            if ended == NOT_PASSED:
                how, ended = "at a random time", "killed"
            if ended != "killed":
                result.problems.append(f"{how}, {shape}: {ended}")
                break
            result.times += 1
            count(result, f"{like.processes}x{like.threads}")
            count(result, how)
        else:
            feed.wait()
    flow.environ |= TO_THE_END
    another = Shape(1 if like.processes > 1 else 2)
    if not result.problems and world.finish(flow, result, another):
        reference, actual = world.undisturbed(**feed.environ), world.read(flow)
        for what, many in _changes(reference).items():
            count(result, what, many)
        if late:
            count(result, "late labels", _late(actual["silver/labels"]))
            reference = _without_labels(world, flow, reference)
            actual = _without_labels(world, flow, actual)
        result.count(flow)
        result.compared(Difference.of(reference, actual))
        wrong = [each for each in world.verify(flow).checks if not each.ok]
        if late:
            # An alert that went out in an epoch that a kill has ended may be by a label that
            # counts from later on in the epoch that took its place.
            sent = tuple(flow.environ[world.variable(each)] for each in _OF_RULES)
            wrong = [each for each in wrong if not each.name.startswith(sent)]
        result.problems += [f"verify: {each.name}: {each.examples[:2]}" for each in wrong]
    world.drop(flow, result, feed.topics)


def _changes(tables: dict[str, pl.DataFrame]) -> dict[str, int]:
    """Return how much of what was compared is as it is by what has changed."""
    silver, alerts = tables["silver/payments"], tables["gold/alerts"]
    named = "rule_id", "rule_version", "rule_status"
    return {
        "changes": tables["ops/control"].height,
        "labels": tables["silver/labels"].height,
        "payments on lists": silver.filter(pl.col("listed") != "").height,
        "payments with labels": silver.filter(pl.col("terminal_frauds_7d") > 0).height,
        "payments with others at the terminal": silver.filter(
            pl.col("terminal_count_7d") > 0
        ).height,
        "rules, versions and statuses with alerts": alerts.select(named).unique().height,
        "decisions": tables["gold/decisions"].height,
    }


def _late(labels: pl.DataFrame) -> int:
    return labels.filter(pl.col("since") > pl.max_horizontal("event_time", "watermark")).height


def _without_labels(
    world: World, flow: Flow, tables: dict[str, pl.DataFrame]
) -> dict[str, pl.DataFrame]:
    """Return tables and topics without all that is by labels, and without when these count."""
    features = world.settings(flow).stream(world.stream).features
    named = [each.name for each in (*features.stated, *features.added) if each.of_labels]
    of_rules = "gold/alerts", "gold/decisions", *_OF_RULES
    found = {name: each for name, each in tables.items() if name not in of_rules}
    found["silver/payments"] = found["silver/payments"].drop(named)
    found["silver/labels"] = found["silver/labels"].drop("since")
    return found
