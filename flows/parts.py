"""Parts: what the steps of a stream work with, and what they make of its topic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import bytewax.operators as op
import polars as pl
from bytewax.dataflow import Dataflow
from bytewax.dataflow import Stream as Flowing
from bytewax.inputs import Source
from bytewax.outputs import Sink

from flows.streams import Stream
from flows.streams.settings import StreamSettings
from operators.avro import Decoder
from operators.changes import ChangeDecoder
from operators.connectors.kafka.pause_source import Paused
from operators.contracts.contract import Checks
from operators.decisions.decider import Decider
from operators.event_time.watermarks import Bounds
from operators.features.by_another import Known
from operators.privacy import Guard
from operators.records.batches import Batch, RawBatch
from operators.records.breaker import Breaker
from operators.rules.rules import Rules
from operators.steps.control import Control
from operators.steps.dedup import DedupStore


@dataclass(frozen=True)
class Parts:
    """What the steps of a stream work with.

    `bounds` are the topic's out-of-orderness, if that has ever been another than the settings'.
    Of records up to the offsets in `since`, by rule and partition, alerts are there already: those
    of the rule as it was; so are decisions of those up to `decided`, by partition. `control` knows
    what changes of rules and lists, if that may, and `pauses` has what rules paused themselves by.
    `breaker` is that of the stream's source. Changes need nobody who has `seen` them before.
    `guard` does what is declared to personal data that leaves the flow; `contract` has done it to
    what stays.
    """

    decoder: Decoder | ChangeDecoder
    contract: Checks
    seen: DedupStore | None
    rules: Rules | None
    bounds: Bounds | None = None
    since: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    control: Control | None = None
    breaker: Breaker = field(default_factory=partial(Breaker, 1.0))
    decider: Decider | None = None
    decided: Mapping[int, int] = field(default_factory=dict)
    pauses: Source[Paused] | None = None
    guard: Guard = field(default_factory=Guard)

    def paused(self, flow: Dataflow) -> Flowing[Paused] | None:
        """Return what a flow hears of rules that have paused themselves, None if they may not."""
        return None if self.pauses is None else op.input("pauses", flow, self.pauses)


@dataclass(frozen=True)
class LabelledBy:
    """What the labels of a stream's events are read with: `known` is what their table has.

    `sink` is that of their tables, None in a flow that writes none.
    """

    stream: Stream
    own: StreamSettings
    source: Source[Any]
    parts: Parts
    known: Known
    sink: Sink[Any] | None = None


@dataclass(frozen=True)
class Records:
    """What `read` makes of a topic: the good records, and frames of the tables' columns.

    `all` are the good ones with those before them that only make state, as tables have them.
    `bronze` are rows of the raw ones, if they had to be held as well, `drifts` what was found of
    their schemas. `labels` are what was made of
    the topic of labels, judged, if that was read too.
    """

    raw: Flowing[RawBatch]
    bronze: Flowing[pl.DataFrame] | None
    all: Flowing[Batch]
    good: Flowing[Batch]
    duplicates: Flowing[pl.DataFrame] | None
    rejects: Flowing[pl.DataFrame]
    alerts: Flowing[pl.DataFrame] | None
    labels: "Records | None" = None
    decisions: Flowing[pl.DataFrame] | None = None
    drifts: Flowing[pl.DataFrame] | None = None
