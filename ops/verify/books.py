"""The books: where each record of the source topic went, and what was made of it."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import polars as pl

from flows import control
from flows.catalog import Flow
from flows.connecting import rules_of
from flows.settings import Settings
from flows.streams import ENRICHMENTS, PAYMENTS, STREAMS, Stream
from flows.tables import bounds
from operators.columns.durations import micros
from operators.connectors.delta.accounts import recorded
from operators.connectors.delta.definitions import History, history
from operators.connectors.delta.table import Fence
from operators.connectors.kafka.client import wait_for_partitions
from operators.connectors.kafka.topic_ids import identify
from operators.control.state import State
from operators.event_time.watermarks import Bounds
from operators.rules.status import LIVE
from ops.verify.changes import check_changes
from ops.verify.chargebacks import check_chargebacks
from ops.verify.control import pause_ids
from ops.verify.data_quality import check_data_quality
from ops.verify.decided import Decided
from ops.verify.enforced import check_enforced
from ops.verify.enriched import check_enriched
from ops.verify.features import check_features
from ops.verify.forgotten import Forgotten, place_of
from ops.verify.judged import Judged
from ops.verify.labels import check_labels, labels_topic
from ops.verify.places import check_places
from ops.verify.quality import check_quality
from ops.verify.report import Check, Report
from ops.verify.scores import as_scored
from ops.verify.since import since_aggregates, since_features
from ops.verify.statuses import Statuses, behind, sent
from ops.verify.tables import Tables
from ops.verify.topics import reject_ids, sent_once
from ops.verify.truth import read_truth
from ops.verify.windows import check_windows

_PLACE = ["source_partition", "source_offset"]


def verify(
    settings: Settings,
    truth: Path | None = None,
    told: Callable[[str], None] = lambda _: None,
    enforcing: Sequence[Flow] = (),
) -> Report:
    """Read topics and tables and check that they agree; `told` hears what is being done.

    Every stream of the catalog is checked that has tables, the flows' that join some if they are
    there, and each topic of flows that are `enforcing`; of these are `settings` where there
    is no other flow. `truth` is what a simulation wrote beside the records of a stream. Raises
    MissingTableError if there are none, or none of that stream, TruthError for another file, and
    KafkaUnavailableError where the topics cannot be read.
    """
    expected = read_truth(truth) if truth else pl.DataFrame({"stream": []})
    tables = Tables(settings.delta_root)
    # Without Redis no other flow is set up here.
    others = bool(settings.redis_url.get_secret_value())
    found = [
        as_scored(settings, each, tables)
        for each in (STREAMS if others else ())
        if each.alone and tables.there(each.bronze.name)
    ]
    checks: list[Check] = []
    counts: Counter[str] = Counter()
    for flow in enforcing:
        some, counted = check_enforced(flow, tables, told)
        checks += some
        counts += counted
    if not (found or checks):
        tables.handle(PAYMENTS.bronze.name)
    for stream in STREAMS:
        if stream.name in expected["stream"]:
            tables.handle(stream.bronze.name)
    alerts: Counter[str] = Counter()
    for stream, unasked in found:
        books = _Books(settings, stream, tables, told, unasked)
        checks += books.check(expected.filter(stream=stream.name))
        counts += books.counts
        alerts += books.alerts_by_rule
    if any(stream.name == PAYMENTS.name for stream, _ in found):
        checks += check_chargebacks(settings, tables.handle(PAYMENTS.silver.name), told)
        checks += check_quality(settings.delta_root)
    for each in ENRICHMENTS if others else ():
        told(f"looking up anew what {each.stream.name} were told")
        checks += check_enriched(settings, each, tables)
    named = ("events", "unique", "duplicates", "rejected", "late", "windows", "alerts")
    return Report(checks, {name: counts[name] for name in named}, dict(sorted(alerts.items())))


class _Books:
    """The books of one stream."""

    def __init__(
        self,
        settings: Settings,
        stream: Stream,
        tables: Tables,
        told: Callable[[str], None],
        unasked: str,
    ) -> None:
        """`unasked` is why the stream's model cannot be asked."""
        self._settings, self._own, self._stream = settings, settings.of(stream), stream
        self._tables, self._told, self._unasked = tables, told, unasked
        self._gone = Forgotten.of(settings.delta_root, stream.name)
        self.counts: Counter[str] = Counter()
        self.alerts_by_rule: Counter[str] = Counter()

    def check(self, truth: pl.DataFrame) -> list[Check]:
        """Return every check; `truth` is what a simulation says of the topic, empty for none."""
        rejects = self._tables.read(self._stream.quarantine.name, [*_PLACE, "stage", "code"])
        bronze = self._stream.bronze.name
        checks, counts = check_places(
            self._settings, self._stream, self._tables, rejects, truth, self._gone, self._told
        )
        self.counts += Counter(counts)
        # What it has counted of rows that are gone nobody can count again.
        if not (self._gone or self._cut or self._tables.cut(bronze, self._own.topic)):
            checks += check_data_quality(self._stream, self._tables, self._settings)
        if self._stream.features:
            checks.append(
                check_features(
                    self._stream,
                    self._settings.delta_root,
                    self._own.topic,
                    self._bounds(),
                    since_features(self._silver_told, self._stream, self._own.topic),
                    self._told,
                    labels_topic(self._settings, self._stream),
                )
            )
            checks += check_labels(self._settings, self._stream, self._told)
        if self._stream.changes:
            checks.append(check_changes(self._stream, self._tables.handle))
        if self._stream.windows:
            self._told(f"working out the windows of {self._stream.name} anew")
            checks += self._check_windows()
        if self._stream.rules:
            self._told(f"evaluating the rules of {self._stream.name} anew")
            checks += self._check_alerts(rejects)
        self._told(f"reading what was sent of {self._stream.name}")
        return checks + self._check_sent()

    def _check_windows(self) -> list[Check]:
        stream, own, tables = self._stream, self._own, self._tables
        windows = stream.windowed(micros(own.allowed_lateness))
        partitions = wait_for_partitions(self._settings.kafka, own.topic, 10)
        panes = {name: stream.window_table(name).name for name in windows}
        fence = Fence(stream.name, [(own.topic, p) for p in partitions])
        self.counts["late"] += tables.height(stream.late.name)
        self.counts["windows"] += sum(map(tables.height, panes.values()))
        return check_windows(
            stream,
            tables.handle,
            windows,
            bounds=self._bounds(),
            watermarks={
                n: recorded(tables.handle(t), fence).watermark for n, t in panes.items()
            },
            since={
                name: since_aggregates(history(tables.handle(table)) or {})
                for name, table in panes.items()
            },
            gone=self._gone,
        )

    @cached_property
    def _silver_told(self) -> History:
        return history(self._tables.handle(self._stream.silver.name)) or {}

    def _bounds(self) -> Bounds:
        bound = micros(self._own.out_of_orderness)
        return bounds(self._silver_told, self._own.topic, bound)

    def _check_alerts(self, rejects: pl.DataFrame) -> list[Check]:
        stream = self._stream
        rules = rules_of(stream, self._settings)
        assert rules is not None  # noqa: S101 # a stream with rules
        alerts = self._tables.read(stream.alerts.name, stream.alerts.columns)
        self.counts["alerts"] += sent(alerts).height
        self.alerts_by_rule += Counter(
            rule if status in (None, LIVE) else f"{rule} ({status})"
            for rule, status in alerts.select("rule_id", "rule_status").iter_rows()
        )
        judged = Judged(
            stream, self._own, self._tables, rules, self._state,
            self._decided if stream.decides else None, self._cut, self._unasked,
        )  # fmt: skip
        return judged.check(alerts, rejects)

    @cached_property
    def _cut(self) -> dict[int, int]:
        """By partition, up to where what was made of silver may have been cut by retention."""
        stream, found = self._stream, dict[int, int]()
        made = [stream.quarantine]
        made += [stream.alerts] if stream.rules else []
        made += [stream.decisions] if stream.decides else []
        for table in made:
            for partition, last in self._tables.cut(table.name, self._own.topic).items():
                found[partition] = max(last, found.get(partition, last))
        return found

    @cached_property
    def _state(self) -> State | None:
        return control.recorded(self._settings, self._stream)

    @cached_property
    def _decided(self) -> Decided:
        stream, handle = self._stream, self._tables.handle
        made, found = (
            history(handle(each.name)) or {} for each in (stream.decisions, stream.alerts)
        )
        return Decided(stream, self._own.topic, made, found, self._state)

    def _statuses(self) -> Statuses:
        told = history(self._tables.handle(self._stream.alerts.name)) or {}
        return Statuses(told, self._own.topic, self._stream.key)

    def _removed(self, id_: str) -> bool:
        """Tell whether a message is of a record that was forgotten, or cut from what tells it."""
        place = place_of(id_)
        cut = place is not None and place[1] <= self._cut.get(place[0], -1)
        return cut or self._gone.has(id_)

    def _check_sent(self) -> list[Check]:
        stream, own, tables = self._stream, self._own, self._tables
        kafka = self._settings.kafka
        source = identify(kafka, [own.topic], 10)[own.topic]
        rejects = tables.read(stream.quarantine.name, ["code", "source_topic", *_PLACE])
        expected = {own.dlq_topic: (stream.quarantine.name, reject_ids(rejects))}
        today: dict[str, Callable[[str], bool]] = {}
        rules = rules_of(stream, self._settings)
        if rules is not None:
            alerts = tables.read(stream.alerts.name, stream.alerts.columns)
            live = sent(alerts)
            those = " that is live" if live.height < alerts.height else ""
            pauses = pause_ids(stream, self._state, own.control_topic)
            ids = pl.concat([live.select(id="alert_id"), pauses])
            expected[own.alerts_topic] = stream.alerts.name + those, ids
            changes = self._state.changes if self._state else ()
            declared = {f"{each.id}@{each.version}" for each in rules.rules}
            declared |= {f"{each.name}@{each.version}" for each in changes if each.version}
            were = self._statuses()
            # What was sent in an epoch that a crash ended, before its rules were others.
            today[own.alerts_topic] = lambda name: (
                name.partition("/")[0] in declared and not were.was_live(name)
            )
        if stream.decides:
            made = tables.read(stream.decisions.name, ["decision_id", *_PLACE])
            decided = self._decided
            ids = made.filter(behind(made, decided.begin)).select(id="decision_id")
            expected[own.decisions_topic] = stream.decisions.name, ids
            today[own.decisions_topic] = lambda name: not decided.may_be_more(name)
        return [
            sent_once(
                f"{topic} holds every row of {rows}, once",
                kafka,
                topic,
                ids,
                source,
                today.get(topic),
                self._removed,
            )
            for topic, (rows, ids) in expected.items()
        ]
