"""The catalog of flows: what each reads, sends and writes, by the settings.

For tools: what people run beside flows, and know only by their settings.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flows import chargebacks, enriching, pipeline
from flows.label_ends import label_tables, labels_of
from flows.privacy import telling
from flows.settings import Settings
from flows.streams import CHARGEBACKS, ENRICHMENTS, LABELS, PAYMENTS, STREAMS, Stream
from flows.tables import defined
from operators.records.tables import Table
from operators.rules.rules import RuleSet


@dataclass(frozen=True)
class Flow:
    """A flow by its name, which is also that of its module in `flows`.

    `reads` are the streams of the topics that it reads, `sends` the topics that it sends to, `own`
    is the stream whose tables it writes, if it writes all of them, and can make its state anew.
    `control` is the topic that changes its rules and lists, `lookups` are what it looks up.
    """

    name: str
    settings: Settings
    reads: tuple[Stream, ...]
    sends: tuple[str, ...]
    group: str
    tables: tuple[Table, ...] = ()
    own: Stream | None = None
    quarantine: Table | None = None
    control: str | None = None
    lookups: str | None = None

    @property
    def topics(self) -> list[str]:
        """The topics that it reads."""
        return [self.settings.of(each).topic for each in self.reads]

    @property
    def grouped(self) -> bool:
        """Whether some of its state is kept by key group."""
        return bool(self.tables)

    @property
    def command(self) -> str:
        """How it is started, but for its recovery directory."""
        return f"python -m bytewax.run flows.{self.name}"


def flows(
    settings: Settings, rules: Callable[[Stream], RuleSet | None] = lambda _: None
) -> list[Flow]:
    """Return every flow; tables tell what their rows are made by as of these `rules`.

    Raises FeatureError.
    """
    return list(_flows(settings, rules))


def _flows(settings: Settings, rules: Callable[[Stream], RuleSet | None]) -> Iterator[Flow]:
    for each in STREAMS:
        if not each.alone:
            continue
        stream, own = settings.stream(each), settings.of(each)
        labels = labels_of(stream)
        letters = [settings.of(one).dlq_topic for one in labels]
        yield Flow(
            stream.name,
            settings,
            (stream, *labels),
            (*pipeline.named(pipeline.topics(stream, settings)), *letters),
            own.consumer_group,
            (
                *telling(
                    settings,
                    defined(stream, own, rules(stream)),
                    {stream.silver.name: [stream]},
                ),
                *label_tables(stream, settings),
            ),
            stream,
            stream.quarantine,
            own.control_topic,
        )
        if each is PAYMENTS:
            group = f"{own.consumer_group}-alerts"
            common = (stream, *labels), (own.alerts_topic, own.decisions_topic), group
            yield Flow("alerts", settings, *common, control=own.control_topic)
    payments = settings.stream(PAYMENTS).unlabelled
    yield Flow(
        "chargebacks",
        settings,
        (payments, CHARGEBACKS),
        (settings.of(CHARGEBACKS).dlq_topic, settings.of(LABELS).topic),
        f"{settings.consumer_group}-outcomes",
        tuple(chargebacks.defined_tables(settings)),
        None,
        CHARGEBACKS.quarantine,
    )
    for enriched in ENRICHMENTS:
        yield Flow(
            enriched.name,
            settings,
            enriched.streams,
            (),
            enriching.group_of(enriched, settings),
            tuple(enriching.defined_tables(enriched, settings)),
            lookups=enriched.definition,
        )
