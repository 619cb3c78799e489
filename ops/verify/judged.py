"""What was judged: alerts, lists, scores and decisions, held to silver piece by piece."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from flows.streams import Stream
from flows.streams.settings import StreamSettings
from operators.connectors.delta.definitions import History, history
from operators.control.state import State
from operators.model import SCORE
from operators.rules.rules import Rules, RuleSet
from ops.verify.alerts import check_alerts
from ops.verify.control import Changed, check_listed
from ops.verify.decided import Decided, inputs
from ops.verify.decisions import as_were, check_decisions
from ops.verify.pieces import pieces
from ops.verify.report import Check, summed
from ops.verify.scores import Scores
from ops.verify.since import since_rules
from ops.verify.statuses import Statuses
from ops.verify.tables import Tables, uncut


@dataclass(frozen=True)
class Judged:
    """What a stream's rules, lists, model and thresholds have found.

    All of it is by record, so that never more than a piece of silver and of its decisions is
    in memory. `state` has what a control topic has changed, `decided` how decisions were made,
    where there are any. What was made of silver may be `cut` up to offsets by partition;
    `unasked` is why the stream's model cannot be asked.
    """

    stream: Stream
    own: StreamSettings
    tables: Tables
    rules: RuleSet
    state: State | None
    decided: Decided | None
    cut: Mapping[int, int]
    unasked: str

    def check(self, alerts: pl.DataFrame, rejects: pl.DataFrame) -> list[Check]:
        """Return every check, of all alerts and of the rejects, which are few."""
        stream, state, topic = self.stream, self.state, self.own.topic
        of_alerts, of_silver = self._told(stream.alerts.name), self._told(stream.silver.name)
        held: Rules = self.rules
        if state is not None:
            held = Changed(stream, self.rules, state, of_alerts, topic)
        compared = since_rules(of_alerts, stream, self.own, self.rules)
        were = Statuses(of_alerts, topic, stream.key)
        scores = Scores(stream, self.unasked, of_silver, topic)
        alerts, rejects = uncut(self.cut, alerts), uncut(self.cut, rejects)
        names = [stream.silver.name, stream.alerts.name, stream.quarantine.name]
        names += [stream.decisions.name] if self.decided else []
        by_rules, others = list[list[Check]](), list[list[Check]]()
        for piece in pieces(map(self.tables.handle, names)):
            silver = self.tables.read(stream.silver.name, inputs(stream), piece.sql)
            silver = uncut(self.cut, silver)
            found, refused = piece.of(alerts), piece.of(rejects)
            own = silver[list(stream.columns)]
            by_rules.append(check_alerts(stream, held, compared, were, own, found, refused))
            others.append([])
            if SCORE in own.columns:
                scores.add(silver)
            if state is not None and stream.listing:
                others[-1].append(check_listed(stream, state, of_silver, topic, silver))
            if self.decided is not None:
                made = self.tables.read(
                    stream.decisions.name, stream.decisions.columns, piece.sql
                )
                made = uncut(self.cut, made)
                as_then = as_were(held, compared, silver, found, made)
                others[-1].append(check_decisions(self.decided, *as_then, silver, found, made))
        return [
            *map(summed, zip(*by_rules, strict=True)),
            *([scores.check()] if SCORE in stream.columns else []),
            *map(summed, zip(*others, strict=True)),
        ]

    def _told(self, name: str) -> History:
        return history(self.tables.handle(name)) or {}
