"""Starting: what every flow does before Bytewax runs it."""

import argparse
import atexit
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bytewax.dataflow import Dataflow
from confluent_kafka import KafkaException

from flows.settings import Settings, SettingsError, refuse
from operators.connectors import (
    delta,
    file_limit,
    kafka,
    memory,
    output_topics,
    recovery,
    recovery_owner,
    redis,
    registry,
    topic_ids,
)
from operators.connectors.drain import DRAIN
from operators.contracts import ContractError
from operators.rules import RuleError
from operators.tables import Table

_Loaded = TypeVar("_Loaded")


def start(load: Callable[[], _Loaded], connect: Callable[[_Loaded], Dataflow]) -> Dataflow:
    """Return what `connect` builds of what `load` read, for Bytewax to run.

    Ends the process with status 2 for settings or rules that cannot be used, and with 1 where
    Kafka, Redis, the registry or the tables' storage are not there in time, where the tables
    belong to another topic, where another copy of the flow runs, or where the process may not
    open as many files as it needs.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("millstream").setLevel(logging.INFO)
    try:
        loaded = load()
    except (ContractError, SettingsError, RuleError) as error:
        refuse(error, 2)
    try:
        built = connect(loaded)
    except (
        KafkaException, kafka.KafkaUnavailableError, redis.RedisUnavailableError,
        registry.RegistryUnavailableError, delta.StorageUnavailableError, delta.FencedError,
        recovery.InUseError, recovery_owner.OtherOwnerError, topic_ids.TopicChangedError,
        file_limit.FileLimitError,
        output_topics.OutputTopicError,
    ) as error:  # fmt: skip
        refuse(error, 1)
    DRAIN.install()
    memory.settle()
    return built


def registry_config(settings: Settings) -> dict[str, str]:
    """Return the registry client's settings."""
    user = settings.schema_registry_user.get_secret_value()
    return {"basic.auth.user.info": user} if user else {}


def prepare_recovery(flow: str, topics: Mapping[str, str]) -> None:
    """Make or purge the recovery store that Bytewax was told of, before it opens it.

    `topics` are those that the flow reads, with their identities. Raises InUseError,
    OtherOwnerError and TopicChangedError for a store that cannot be gone on with.
    """
    directory, process = _told(sys.argv[1:])
    # One process does it for all: the others wait for it before they open the store.
    if directory and process == 0:
        recovery_owner.refuse_others(directory, flow, topics)
        recovery.prepare(directory)
        recovery_owner.claim(directory, flow, topics)


def table_id(settings: Settings, table: Table) -> str:
    """Return the id of one of the flow's tables, which its first process makes if need be."""
    _, process = _told(sys.argv[1:])
    timeout = settings.start_timeout.total_seconds()
    return delta.table_id(settings.delta_root, table, make=process == 0, timeout=timeout)


def known_partitions(topic: str) -> set[int]:
    """Return the topic's partitions that the recovery store goes on with, if there is one."""
    directory, _ = _told(sys.argv[1:])
    return set() if directory is None else recovery.known_partitions(directory, topic)


def workers() -> int:
    """Return how many workers, which are threads, Bytewax was told to run in this process."""
    parser = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("BYTEWAX_WORKERS_PER_PROCESS", "1")
    parser.add_argument("-w", "--workers-per-process", type=int, default=default)
    known, _ = parser.parse_known_args(sys.argv[1:])
    return int(known.workers_per_process)


def at_good_end(do: Callable[[], None]) -> None:
    """Call `do` when the process ends, unless an exception has ended it.

    Bytewax closes the sources before their last epoch is durable. When it has returned it is.
    """

    def look() -> None:
        # What the interpreter keeps of an exception that nobody caught.
        if not hasattr(sys, "last_value"):
            do()

    atexit.register(look)


def recovery_directory() -> Path | None:
    """Return the recovery directory that Bytewax was told of, if any."""
    return _told(sys.argv[1:])[0]


def _told(arguments: Sequence[str]) -> tuple[Path | None, int]:
    """Return the recovery directory, if any, and this process's number."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "-r", "--recovery-directory", default=os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    )
    parser.add_argument("-i", "--process-id", type=int, default=0)
    known, _ = parser.parse_known_args(arguments)
    found: str | None = known.recovery_directory
    return Path(found) if found else None, known.process_id
