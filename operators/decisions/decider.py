"""The decider: of events and what their rules found, decisions on those that are not plain.

Most events hit no rule, and are approved. Of those nothing is worked out, and there is no row
unless each event is to have one.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
import polars as pl

from operators.columns.arrays import Bools, Floats, Indices, Int64s
from operators.columns.frames import filtered, stacked, taken
from operators.decisions.columns import LISTED, MODEL, decision_columns, hits_column, ids_of
from operators.decisions.marks import Marks, marks_of
from operators.decisions.plain import plainly
from operators.decisions.thresholds import NAMES, At
from operators.decisions.versions import Versions, unchanged
from operators.decisions.words import LEVELS, WITHOUT_MODEL, Said, sentence
from operators.rules.status import LIVE

ALLOW_LIST: Final = "allow list"
BLOCK_LIST: Final = "block list"
RULES: Final = "rules"
OF_MODEL: Final = "model"

MOST: Final = 1_000.0
"""What one rule adds to a score at the most, as one that divides by nothing may say anything."""


Reads: TypeAlias = Callable[[Mapping[str, Any]], Collection[str]]
"""What tells which columns the rule of an alert, a row by name, has read."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What events come to that are not plainly approved, and why; shape (n,) each.

    `rows` are their places among all events, `frame` has their columns that decisions need;
    `level` is the place of the decision in LEVELS, and `by` what was enough for it. Of the alerts
    that are `live` each adds `points` to the score of the event `of_alert`, shape (alerts,).
    """

    rows: Indices
    frame: pl.DataFrame
    level: Int64s
    by: npt.NDArray[np.str_]
    total: Floats
    share: Floats
    at: dict[str, Floats]
    model: Floats
    says: Bools
    failed: Bools
    blocked: Bools
    actions: Int64s
    live: pl.DataFrame
    of_alert: Indices
    points: Floats


class Decider:
    """Makes decisions: whole frames of events at a time, each by its own row and alerts alone.

    What counts, in this order:

    1. The allow list: approve, if the entry overrides a block or there is no block.
    2. The block list: block.
    3. The rules: those that are live for the event. The action of each is the least that comes of
       its hit; what their scores, each from 0 to `MOST`, sum up to may make more of it.
    4. The model: as a rule whose score is 100 times the model's, where that has come to its own
       threshold, and whose action is by its own thresholds.

    Of rules and model the strictest counts. `decided_by` is the first that is enough for it.
    """

    def __init__(
        self,
        id_column: str,
        key_column: str,
        at: At,
        reads: Reads,
        *,
        every: bool = False,
        model: str | None = None,
        versions: Versions = unchanged,
    ) -> None:
        """`at` tells the thresholds of events, `reads` what the rule of an alert has read.

        With `every` there are plain approvals too; `model` names what scores events, if anything.
        """
        self._at, self._reads, self._versions = at, reads, versions
        self.every, self._model = every, model
        self.columns = decision_columns(id_column, key_column)
        self._nothing = pl.DataFrame(schema=self.columns)

    def decide(self, events: pl.DataFrame, alerts: pl.DataFrame) -> pl.DataFrame:
        """Return the decisions on those of `events` that are not plainly approved, in their order.

        `alerts` are those that the rules found on these events, in any order. An event is approved
        plainly if no live rule hits it, no block list has it, and the model is content. Where every
        event is decided on, what an allow list has is told as such.
        """
        judged = self.judge(events, alerts)
        made = self._nothing if judged is None else self._decided(events, judged)
        if not self.every:
            return made
        others = np.ones(events.height, np.bool_)
        if judged is not None:
            others[judged.rows] = False
        at = {name: self._at(name, events) for name in NAMES}
        known = {f"{name}_at": pl.Series(each) for name, each in at.items()}
        known |= self._versions(events)
        plain = plainly(events, others, self.columns, known, self._model)
        if not made.height or not plain.height:
            return plain if plain.height else made
        places = np.append(np.flatnonzero(others), np.flatnonzero(~others))
        return taken(stacked([plain, made]), np.argsort(places))

    def judge(self, events: pl.DataFrame, alerts: pl.DataFrame) -> Judged | None:
        """Return what those of `events` come to that are not plainly approved, None if all are."""
        live = alerts
        if alerts.height:
            status = alerts["rule_status"]
            # Of releases that knew no status alerts have none, and were live.
            known = status.fill_null(LIVE) if status.null_count() else status
            live = filtered(alerts, known == LIVE)
        marks = marks_of(events, self._at)
        allowed = (marks.allowed, marks.overriding) if self.every else ()
        wanted = [
            m for m in (marks.blocked, marks.says, marks.failed, *allowed) if m is not None
        ]
        if not live.height and not wanted:
            return None
        of_alert = _rows_of(events, live)
        rows = of_alert
        if wanted:
            rows = np.append(rows, np.flatnonzero(np.logical_or.reduce(wanted)))
        rows = np.unique(rows)
        return self._judged(events, live, marks, rows, np.searchsorted(rows, of_alert))

    def _judged(
        self,
        events: pl.DataFrame,
        live: pl.DataFrame,
        marks: Marks,
        rows: Indices,
        of_alert: Indices,
    ) -> Judged:
        wanted = (*self.columns, "kafka_timestamp")
        mine = taken(events[[name for name in wanted if name in events.columns]], rows)
        n = len(rows)
        at = {name: self._at(name, mine) for name in NAMES}
        says, failed = _of(marks.says, rows), _of(marks.failed, rows)
        model = np.full(n, np.nan) if marks.model is None else marks.model[rows]
        hit = np.bincount(of_alert, minlength=n) > 0
        given = live["score"].to_numpy()
        points = np.nan_to_num(given, nan=0, posinf=MOST, neginf=0).clip(0, MOST)
        by_rules: Floats = np.bincount(of_alert, points, n).round(2).astype(np.float64)
        share = np.where(says, (100 * model).round(2), 0.0)
        total = (by_rules + share).round(2)

        actions = np.zeros(n, np.int64)
        np.maximum.at(actions, of_alert, _levels_of(live["action"]))
        rules = np.where(hit, np.maximum(actions, _level(by_rules, at)), 0)
        alone = np.where(says, 1 + (model >= at["model_block"]), 0)
        level = np.maximum(np.maximum(rules, alone), np.where(hit | says, _level(total, at), 0))
        by = np.where(rules == level, RULES, OF_MODEL)

        blocked = _of(marks.blocked, rows)
        allowed = _of(marks.overriding, rows) | (_of(marks.allowed, rows) & ~blocked)
        by = np.where(allowed, ALLOW_LIST, np.where(blocked, BLOCK_LIST, by))
        level = np.where(allowed, 0, np.where(blocked, 2, level))
        return Judged(
            rows, mine, level, by, total, share, at, model, says, failed, blocked, actions,
            live, of_alert, points,
        )  # fmt: skip

    def _decided(self, events: pl.DataFrame, judged: Judged) -> pl.DataFrame:
        mine, at, n = judged.frame, judged.at, len(judged.rows)
        total, share, model, failed = judged.total, judged.share, judged.model, judged.failed
        hits = self._hits(
            events, judged.rows, judged.live, judged.points, total, judged.of_alert
        )
        listed = mine[LISTED] if LISTED in mine.columns else pl.Series([None], dtype=pl.String)
        decision = [LEVELS[each] for each in judged.level.tolist()]
        by = judged.by.tolist()
        said = Said(
            decision, by, listed.to_list(), total, share, at, model, failed, judged.actions
        )
        sentences = [WITHOUT_MODEL] * n
        plain = ~(judged.says | judged.blocked)
        if self.every:
            plain &= judged.by != ALLOW_LIST
        plain[judged.of_alert] = False
        for row in np.flatnonzero(~plain).tolist():
            sentences[row] = sentence(said, row, hits.get(row, ()))
        made = {
            "decision_id": ids_of(mine),
            "decision": pl.Series(decision, dtype=pl.String),
            "decided_by": pl.Series(said.by, dtype=pl.String),
            "score": pl.Series(total),
            "hits": hits_column(hits, n),
            LISTED: listed if len(listed) == n else listed.new_from_index(0, n),
            MODEL: pl.Series(model, nan_to_null=True),
            "model_share": pl.Series(share),
            "without_model": pl.Series(failed),
            "model": pl.Series([self._model], dtype=pl.String).new_from_index(0, n),
            **{f"{name}_at": pl.Series(each) for name, each in at.items()},
            **self._versions(mine),
            "sentence": pl.Series(sentences, dtype=pl.String),
        }
        columns = {n: made[n] if n in made else mine[n] for n in self.columns}
        return pl.DataFrame(
            [
                each.alias(name)
                if each.dtype == self.columns[name]
                else each.cast(self.columns[name]).alias(name)
                for name, each in columns.items()
            ]
        )

    def _hits(
        self,
        events: pl.DataFrame,
        rows: Indices,
        live: pl.DataFrame,
        points: Floats,
        totals: Floats,
        of_alert: Indices,
    ) -> dict[int, list[dict[str, Any]]]:
        """Return the hits of each of the rows that has any, the largest first."""
        found: dict[int, list[dict[str, Any]]] = {}
        columns: dict[str, list[Any]] = {}
        places = pl.Series(rows.astype(np.uint32))
        # Asked for once: a frame makes the list of its columns anew each time.
        there = frozenset(events.columns)
        times = [None] * len(rows)
        if "kafka_timestamp" in there:
            times = events["kafka_timestamp"][places].to_list()
        each = zip(live.iter_rows(named=True), points.tolist(), of_alert.tolist(), strict=True)
        for alert, point, row in each:
            values = {}
            for name in sorted(self._reads({**alert, "kafka_timestamp": times[row]})):
                if name in there:
                    if name not in columns:
                        columns[name] = events[name][places].to_list()
                    values[name] = columns[name][row]
            total = float(totals[row])
            found.setdefault(row, []).append(
                {
                    "rule_id": alert["rule_id"],
                    "rule_version": alert["rule_version"],
                    "action": alert["action"] or "review",
                    "score": point,
                    "share": point / total if total else 0.0,
                    "reason": alert["reason"],
                    "values": orjson.dumps(values, str, orjson.OPT_UTC_Z).decode(),
                }
            )
        for hits in found.values():
            hits.sort(key=lambda hit: (-hit["score"], hit["rule_id"]))
        return found


def _levels_of(actions: pl.Series) -> Int64s:
    """Return the levels of alerts' actions; what a release wrote that knew none was reviewed."""
    known: dict[str | None, int] = {name: level for level, name in enumerate(LEVELS)}
    known[None] = LEVELS.index("review")
    return np.array([known[each] for each in actions.to_list()], np.int64)


def _level(score: Floats, at: Mapping[str, Floats]) -> Int64s:
    # Each of the two may be changed by itself: what blocks does so whatever the other is.
    found = np.where(score >= at["block"], 2, score >= at["review"])
    return found.astype(np.int64)


def _of(mask: Bools | None, rows: Indices) -> Bools:
    return np.zeros(len(rows), np.bool_) if mask is None else mask[rows]


def _rows_of(events: pl.DataFrame, alerts: pl.DataFrame) -> Indices:
    """Return for each alert the place of its event among `events`."""
    if not alerts.height:
        return np.empty(0, np.intp)
    offsets = events["source_offset"].to_numpy()
    near = np.flatnonzero(np.isin(offsets, alerts["source_offset"].to_numpy()))
    partitions = events["source_partition"].to_numpy()[near].tolist()
    known = dict(zip(zip(partitions, offsets[near].tolist(), strict=True), near, strict=True))
    places = zip(alerts["source_partition"], alerts["source_offset"], strict=True)
    return np.array([known[place] for place in places], np.intp)
