"""Starting: what every flow does before Bytewax runs it."""

import atexit
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from bytewax.dataflow import Dataflow

from flows import ending, health, log_lines, reporting, telemetry
from flows.flow_settings import FlowSettings
from flows.ports import default_port
from flows.settings import SettingsError, refuse
from flows.slices import Slice
from flows.told import check_endpoint, told
from operators.columns.frames import pickle_in_one_chunk
from operators.connectors import memory, recovery, recovery_owner
from operators.connectors.delta import defining
from operators.connectors.delta import table as delta
from operators.connectors.delta.definitions import History
from operators.connectors.delta.sink import DeltaSink
from operators.connectors.pulse import PULSE
from operators.connectors.shutdown import SHUTDOWN
from operators.contracts import ContractError
from operators.errors import KnownError
from operators.event_time.frontier import Frontier
from operators.features import FeatureError
from operators.records.tables import Table
from operators.rules.rules import RuleError

_Loaded = TypeVar("_Loaded", bound=tuple[FlowSettings, Any])


def start(
    name: str, load: Callable[[], _Loaded], connect: Callable[[_Loaded], Dataflow]
) -> Dataflow:
    """Return what `connect` builds of what `load` read, for Bytewax to run.

    Ends the process with status 2 for settings or rules that cannot be used, and with 1 and one
    line for what is wrong in the world, such as brokers that are away. That also holds for what
    is raised later, while Bytewax runs the flow.
    """
    log_lines.set_up(name)
    try:
        loaded = load()
        check_endpoint(default_port(name, told().process + loaded[0].share.number))
        told().check()
    except (ContractError, FeatureError, SettingsError, RuleError) as error:
        refuse(error, 2)
    except KnownError as error:
        refuse(error, 1)
    ending.install()
    reporting.begin(name, version("millstream"), loaded[0].share)
    health.begin()
    try:
        built = connect(loaded)
        telemetry.begin(name, loaded[0])
    except (ContractError, SettingsError) as error:
        refuse(error, 2)
    SHUTDOWN.install()
    memory.settle()
    if told().addresses:
        pickle_in_one_chunk()
        PULSE.meets()
    return built


def prepare_recovery(
    flow: str,
    topics: Mapping[str, str],
    definitions: Mapping[str, str],
    *,
    slice_: Slice,
    grows: bool = False,
) -> None:
    """Make or purge the recovery store that Bytewax was told of, before it opens it.

    `topics` are those that the flow reads, with their identities, `definitions` what its states
    are of, and `slice_` is what the process is of the flow. One that `grows` may have read
    others, and is refused here what others are refused by `changed_definitions`. Raises
    KnownError for a folder that cannot be used, and InUseError, OtherOwnerError and
    TopicChangedError for a store that cannot be gone on with.
    """
    directory = told().recovery
    # One process does it for all: the others wait for it before they open the store.
    if directory is not None and told().process == 0:
        try:
            recovery.prepare(directory)
            if grows:
                recovery_owner.refuse_others(
                    directory, flow, topics, slice_=str(slice_), grows=True
                )
            recovery_owner.claim(directory, flow, topics, definitions, str(slice_))
        except OSError as error:
            raise KnownError(
                f"the recovery directory {directory.absolute()} cannot be used: {error.strerror}; "
                "name another one with -r, or give access to it"
            ) from error


def changed_definitions(
    flow: str,
    topics: Mapping[str, str],
    definitions: Mapping[str, str],
    as_today: Callable[[Mapping[str, str]], Mapping[str, str]],
    slice_: Slice,
) -> dict[str, str | None]:
    """Return which of the recovery store's definitions are others now, with what they were.

    `as_today` reads what an earlier release has written. Any process may ask; in one that asks
    when the first has put the store aside none are. Raises OtherOwnerError and TopicChangedError
    as `prepare_recovery` does.
    """
    directory = told().recovery
    if directory is None:
        return {}
    if told().process == 0:
        recovery_owner.refuse_others(directory, flow, topics, slice_=str(slice_))
    return recovery_owner.changed(directory, definitions, as_today)


def set_aside() -> Path | None:
    """Put the recovery store aside, in the first process; return where it is then."""
    directory = told().recovery
    if directory is None or told().process != 0:
        return None
    return recovery.set_aside(directory)


def table_id(settings: FlowSettings, table: Table) -> str:
    """Return the id of one of the flow's tables, which its first process makes if need be."""
    timeout = settings.start_timeout.total_seconds()
    make = told().process == 0
    return delta.table_id(settings.delta_root, table, make=make, timeout=timeout)


def define(
    settings: FlowSettings,
    sink: DeltaSink,
    tables: Sequence[Table],
    topic: str,
    warms: Callable[[], bool] = lambda: False,
) -> None:
    """Have tables tell what their next rows are made by, in the first process.

    The others find it with `told_of`. `topic` is one that the flow reads; what it has of the past
    is in the recovery store, or else in tables that it `warms` up from. Raises what
    `sink.frontiers` does.
    """
    if told().process == 0:

        def reached() -> Frontier:
            found = Frontier()
            for each in sink.frontiers():
                found = found.joined(each)
            return found

        def goes_on() -> bool:
            return bool(known_partitions(topic)) or warms()

        defining.define(settings.delta_root, tables, sink.fence, reached, goes_on=goes_on)


def told_of(settings: FlowSettings, table: Table) -> History:
    """Return what a table tells of its rows, once `define` has been called by a first process."""
    return defining.wait_for(settings.delta_root, table, settings.start_timeout.total_seconds())


def told_by(settings: FlowSettings, table: Table) -> History | None:
    """Return what a table tells as `told_of` does, None if it is not there yet."""
    return told_of(settings, table) if defining.is_there(settings.delta_root, table) else None


def known_partitions(topic: str) -> set[int]:
    """Return the topic's partitions that the recovery store goes on with, if there is one."""
    directory = told().recovery
    return set() if directory is None else recovery.known_partitions(directory, topic)


def at_good_end(do: Callable[[], None]) -> None:
    """Call `do` when the process ends, unless an exception has ended it.

    Bytewax closes the sources before their last epoch is durable. When it has returned it is.
    """

    def look() -> None:
        # What the interpreter keeps of an exception that nobody caught.
        if not hasattr(sys, "last_value"):
            do()

    atexit.register(look)
