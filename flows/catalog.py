"""The catalog of flows: what each reads, sends and writes, by the settings.

For tools: what people run beside flows, and know only by their settings.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from flows import chargebacks, enriching, pipeline
from flows import settings as settings_
from flows.enforced import loading
from flows.enforced.topic import Enforced
from flows.label_ends import label_tables, labels_of
from flows.privacy import telling
from flows.secret_files import is_set
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
    def enforces(self) -> bool:
        """Whether it holds topics to schemas, and does no more."""
        return isinstance(self.reads[0], Enforced)

    @property
    def topics(self) -> list[str]:
        """The topics that it reads."""
        return [self.settings.of(each).topic for each in self.reads]

    @property
    def made_of(self) -> list[tuple[list[str], list[Table]]]:
        """Topics, and the tables that account for them together."""
        enforced = [each for each in self.reads if isinstance(each, Enforced)]
        if enforced:
            return [([each.topic], each.all_tables) for each in enforced]
        return [(self.topics, list(self.tables))]

    @property
    def grouped(self) -> bool:
        """Whether some of its state is kept by key group."""
        return bool(self.tables) and not self.enforces

    @property
    def command(self) -> str:
        """How it is started, but for its recovery directory."""
        return f"python -m bytewax.run flows.{self.name}"


def all_flows(
    rules: Callable[[Stream, Settings], RuleSet | None] = lambda _, __: None,
    *,
    recovery: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> list[Flow]:
    """Return every flow that the environment has settings of; `rules` are as of `flows`.

    Where no Redis is set, which all others need, that is the one that enforces alone. `recovery`
    is as of `settings.load`. Raises SettingsError and FeatureError.
    """
    environ = os.environ if environ is None else environ
    found = enforcing(environ)
    if enforces_alone(environ):
        return found
    settings = settings_.load(environ, recovery)
    return [*flows(settings, lambda stream: rules(stream, settings)), *found]


def enforces_alone(environ: Mapping[str, str] | None = None) -> bool:
    """Tell whether topics are enforced here, and no other flow could run."""
    environ = os.environ if environ is None else environ
    return bool(environ.get(loading.FOLDER)) and not is_set(
        environ, f"{settings_.PREFIX}REDIS_URL"
    )


def enforcing(environ: Mapping[str, str] | None = None) -> list[Flow]:
    """Return the flow that enforces, none where no folder of topics is set.

    Raises SettingsError.
    """
    environ = os.environ if environ is None else environ
    if not environ.get(loading.FOLDER):
        return []
    loaded = loading.load(environ)
    topics = tuple(loaded.topics)
    # Of payments and of Redis it needs to know nothing.
    settings = Settings.model_construct(
        **dict(loaded.settings),
        redis_url=SecretStr(""),
        streams={each.name: loaded.of(each) for each in topics},
    )
    return [
        Flow(
            loading.FLOW,
            settings,
            topics,
            tuple(
                topic
                for each in topics
                for topic in (each.validated, each.dlq)
                if topic is not None
            ),
            loaded.own.consumer_group,
            tuple(table for each in topics for table in each.all_tables),
        )
    ]


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
