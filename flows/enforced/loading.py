"""Loading: what the enforce flow is told, in the environment and in files, wrong all at once."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import schemas
from flows.apart import same_folders
from flows.enforced.files import read_folder
from flows.enforced.names import FOLDER as FOLDER
from flows.enforced.names import folder_of
from flows.enforced.settings import EnforceSettings
from flows.enforced.topic import Enforced
from flows.environment import ENFORCE_PREFIX, PREFIX, SettingsError, parsed, values_of
from flows.flow_settings import FlowSettings
from flows.kafka_settings import kafka_problems, kafka_settings
from flows.privacy import unfit
from flows.registry import open_registry
from flows.secret_files import read_secrets
from flows.settings import unknown
from flows.streams import upkeep_of
from flows.streams.settings import StreamSettings
from flows.streams.upkeep import Upkeep
from flows.told import told
from operators.avro import Lookup, SchemaId
from operators.records.tables import Table

FLOW: Final = "enforce"

_COMMON: Final = [name for name in FlowSettings.model_fields if name != "kafka"]
INHERITED: Final = [
    n
    for n in EnforceSettings.model_fields
    if n in ("future_bound", "max_reject_ratio", "max_reject_run")
]


@dataclass(frozen=True)
class EnforceLoaded:
    """The settings, and the topics that the folder declares."""

    settings: FlowSettings
    own: EnforceSettings
    topics: Sequence[Enforced]

    def of(self, topic: Enforced) -> StreamSettings:
        """Return the settings of what reads a topic: nothing waits for another partition."""
        return topic.own(
            consumer_group=self.own.consumer_group,
            future_bound=self.own.future_bound,
            max_reject_ratio=self.own.max_reject_ratio,
            max_reject_run=self.own.max_reject_run,
            alignment="0s",
        )


def load(environ: Mapping[str, str] | None = None) -> EnforceLoaded:
    """Read settings and files; raises SettingsError naming all that is missing or wrong."""
    environ, problems = read_secrets(os.environ if environ is None else environ)
    problems += unknown(environ)
    common = values_of(environ, PREFIX, _COMMON)
    settings = parsed(
        FlowSettings, PREFIX, {**common, "kafka": kafka_settings(environ)}, problems
    )
    enforce = _enforce(environ, problems)
    problems += kafka_problems(environ)
    folder, topics = environ.get(FOLDER, ""), list[Enforced]()
    if enforce is not None:
        topics, wrong = read_folder(enforce.folder)
        problems += wrong
    if settings is not None:
        problems += unfit(settings, topics)
    root = environ.get(f"{PREFIX}DELTA_ROOT", "")
    problems += same_folders(root, told().recovery, {FOLDER: folder})
    if problems or settings is None or enforce is None:
        raise SettingsError("\n".join(problems))
    # There are no windows, so no end of all time, and no bronze to make tables anew of.
    unneeded = {
        "close_windows_at_end": False,
        "backfill_from": None,
        "backfill_silver_alone": False,
    }
    whole = settings.model_copy(update=unneeded)
    return EnforceLoaded(whole, enforce, topics)


def _enforce(environ: Mapping[str, str], problems: list[str]) -> EnforceSettings | None:
    own = values_of(environ, ENFORCE_PREFIX, EnforceSettings.model_fields)
    given = values_of(environ, PREFIX, INHERITED) | own
    return parsed(EnforceSettings, ENFORCE_PREFIX, given, problems)


def enforce_settings(environ: Mapping[str, str] | None = None) -> EnforceSettings:
    """Return what is set of the enforce flow alone, for tools; raises SettingsError."""
    problems: list[str] = []
    found = _enforce(os.environ if environ is None else environ, problems)
    if found is None:
        raise SettingsError("\n".join(problems))
    return found


def enforced(environ: Mapping[str, str] | None = None) -> list[Enforced]:
    """Return the topics that are enforced here, none where no folder of them is set.

    For tools; raises SettingsError for files that are wrong.
    """
    folder = folder_of(environ)
    if folder is None:
        return []
    topics, problems = read_folder(folder)
    if problems:
        raise SettingsError("\n".join(problems))
    return topics


def enforced_tables(environ: Mapping[str, str] | None = None) -> dict[str, tuple[Table, str]]:
    """Return their tables by name, each with the flow that writes it."""
    tables = [table for each in enforced(environ) for table in each.all_tables]
    return {table.name: (table, FLOW) for table in tables}


def upkeeps(environ: Mapping[str, str] | None = None) -> Callable[[str], Upkeep]:
    """Return what says how a table is maintained, a stream's or an enforced topic's.

    The topics' files are read once. Raises SettingsError.
    """
    own = {name: each for topic in enforced(environ) for name, each in topic.upkeep.items()}
    return lambda table: own[table] if table in own else upkeep_of(table)


def open_schemas(settings: FlowSettings, topics: Sequence[Enforced]) -> Lookup:
    """Return the function that finds schemas by their ids.

    Where no registry is set the topics' own have the ids of `schemas.local_id` and `local_guid`.
    Where no topic has ids nothing is asked. Raises as `open_registry` does.
    """
    if settings.schema_registry.get_secret_value() and any(t.registered for t in topics):
        return open_registry(settings)
    return own_schemas(topics)


def own_schemas(topics: Sequence[Enforced]) -> Lookup:
    """Return the function that finds the topics' own schemas by their local ids."""
    found: dict[SchemaId, Any] = {}
    for topic in topics:
        for version, schema in topic.schemas.items():
            found[schemas.local_id(topic.name, version)] = schema
            found[schemas.local_guid(topic.name, version)] = schema
    return found.__getitem__
