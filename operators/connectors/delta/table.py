"""Delta tables: where they lie, how they are opened, and what they account for."""

import contextlib
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from deltalake import DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError

from operators.connectors.delta.definitions import PROPERTY, History, begun, text_of
from operators.connectors.delta.durability import sync_table
from operators.connectors.delta.errors import FencedError as FencedError
from operators.connectors.delta.errors import StorageUnavailableError as StorageUnavailableError
from operators.connectors.delta.errors import reason
from operators.connectors.delta.layout import declared, missing_columns
from operators.connectors.delta.paths import local_folder
from operators.connectors.delta.paths import table_uri as table_uri
from operators.connectors.delta.properties import isolated, kept_for
from operators.connectors.pulse import PULSE
from operators.connectors.topic_identity import HOW_TO_GO_ON, TopicChangedError, number
from operators.event_time.frontier import Frontier
from operators.records.batches import NO_WATERMARK
from operators.records.tables import KEPT, Table

LOG: Final = logging.getLogger("millstream.delta")

CHECKPOINT_EVERY: Final = 50
"""Commits from one checkpoint of a table to the next."""

_ATTEMPTS: Final = 5
_PROBE_BYTES: Final = 65_536


def open_table(
    root: str, table: Table, told: History | None = None, *, files: bool = True
) -> DeltaTable:
    """Open a table, creating it first if need be, with columns that are new to it added.

    One that is created tells what is `told` of its definitions, or that it has had them from its
    beginning. A handle without `files` can add rows and not read any.
    Raises UnfitTableError where somebody made of it what the flow's rows would not fit, and
    StorageUnavailableError.
    """
    # Also before one more try of what storage has refused.
    PULSE.got_on()
    uri = table_uri(root, table.name)
    for attempt in range(_ATTEMPTS):
        try:
            return _opened(uri, table, told, files)
        except CommitFailedError as error:
            # Someone else was first, perhaps with the very same.
            if attempt + 1 == _ATTEMPTS:
                raise unavailable(uri, error) from error
        except (DeltaError, OSError) as error:
            raise unavailable(uri, error) from error
    raise AssertionError("unreachable")


def _opened(uri: str, table: Table, told: History | None, files: bool) -> DeltaTable:
    if not DeltaTable.is_deltatable(uri):
        DeltaTable.create(
            uri,
            declared(table),
            mode="ignore",
            partition_by=list(table.partition_by),
            configuration={
                "delta.checkpointInterval": str(CHECKPOINT_EVERY),
                **kept_for(KEPT),
                **isolated(table, {}),
                **_told(table, told),
            },
            raise_if_key_not_exists=False,
        )
    handle = DeltaTable(uri, without_files=not files)
    missing = missing_columns(handle, table)
    if missing:
        # Through the handle whose columns were looked at: another's change in between refuses.
        handle.alter.add_columns(missing)
        LOG.info("%s: new columns %s", table.name, ", ".join(each.name for each in missing))
    return handle


def _told(table: Table, told: History | None) -> dict[str, str]:
    found = told or begun({**table.fixed, **table.definitions})
    return {PROPERTY: text_of(found)} if found else {}


def table_id(root: str, table: Table, *, make: bool, timeout: float) -> str:
    """Return the id that Delta gave a table when it was made.

    One process of a flow is to `make` it if need be, as two that do so at once may each have
    another id of it; the others wait for it. Raises StorageUnavailableError after `timeout` s.
    """
    uri, deadline = table_uri(root, table.name), time.monotonic() + timeout
    while not (make or DeltaTable.is_deltatable(uri)):
        if time.monotonic() > deadline:
            raise StorageUnavailableError(
                f"{table.name}: not made by the flow's first process (-i 0) in {timeout:.0f} s"
            )
        time.sleep(0.1)
    opened = open_table(root, table)
    sync_table(opened)
    return str(opened.metadata().id)


def unavailable(
    uri: str, error: BaseException, *, reading: bool = False
) -> StorageUnavailableError:
    """Return what to raise of a table that cannot be opened, written or, if `reading`, read."""
    remote, do = local_folder(uri) is None, "read" if reading else "write to"
    if remote:
        what = f"Is the bucket there, and are the cloud's credentials those of one who may {do} it?"
    elif reading:
        what = "Are its files there and may this user read them, or did a vacuum take them?"
    else:
        what = "Is there space, and may this user write there?"
    return StorageUnavailableError(f"table {uri}: {reason(error)}. {what}")


@contextlib.contextmanager
def reaching(uri: str) -> Iterator[None]:
    """Raise StorageUnavailableError of what deltalake raises where it does not reach a table."""
    try:
        yield
    except (DeltaError, OSError) as error:
        raise unavailable(uri, error, reading=True) from error


def check_storage(root: str) -> None:
    """Raise StorageUnavailableError for a root in which this user can make no files."""
    folder = local_folder(root)
    if folder is None:
        return  # to be seen when the tables are opened
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_PROBE_BYTES))
    except OSError as error:
        raise StorageUnavailableError(
            f"cannot write tables under MILLSTREAM_DELTA_ROOT {root}: {error.strerror}. Make "
            "it a folder with space in which this user may write, or name another"
        ) from error


class Fenced(Protocol):
    """A table's transactions, or what tells the same of it."""

    @property
    def table_uri(self) -> str:
        """Where the table lies."""
        ...

    def transaction_version(self, app_id: str) -> int | None:
        """Return the version that goes with an id, None if there is none."""
        ...


class Fence:
    """Reads and writes a table's frontier: `txn` actions committed together with the rows.

    One per source partition, whose version is the last offset, one whose version is the flow's
    watermark in µs, one per partition that joined later, whose version is its floor, and which
    topics those are, as `number` makes versions of their names and ids.
    """

    def __init__(
        self,
        flow: str,
        partitions: Sequence[tuple[str, int]],
        identities: Mapping[str, str] | None = None,
    ) -> None:
        """`identities` are the topics' own, as `identify` gives them."""
        self._flow = flow
        self._partitions = tuple(partitions)
        self._topics = sorted({topic for topic, _ in partitions})
        known = identities or {}
        self._ids = {t: number(known[t]) for t in known if not known[t].endswith("/")}

    @property
    def _topics_id(self) -> str:
        return f"{self._flow}/topics"

    def _identity_id(self, topic: str) -> str:
        return f"{self._flow}/{topic}/id"

    def refuse_others(self, table: Fenced) -> None:
        """Raise TopicChangedError for a table that accounts for other topics than the fence's.

        One that was written before tables knew which topics theirs are takes that up with its
        next commit.
        """
        where = f"table {table.table_uri}"
        names = table.transaction_version(self._topics_id)
        if names is None:
            written = table.transaction_version(self._watermark_id) is not None
            other = written and not self.read(table).offsets
        else:
            other = names != number(*self._topics)
        if other:
            raise TopicChangedError(
                f"{where} was made of other topics than {' and '.join(self._topics)}. "
                + HOW_TO_GO_ON
            )
        for topic, mine in self._ids.items():
            if table.transaction_version(self._identity_id(topic)) not in (None, mine):
                raise TopicChangedError(
                    f"{where} was made of another topic {topic}: that one was deleted and made "
                    "anew, or these are other brokers. " + HOW_TO_GO_ON
                )

    @classmethod
    def told(cls, flow: str, ids: Iterable[str]) -> "Fence":
        """Return the fence whose transactions' ids these are, for who knows no partitions."""
        parts = (each.split("/") for each in ids)
        places = [
            (found[1], int(found[2]))
            for found in parts
            if len(found) == 3 and found[0] == flow and found[2].isdigit()
        ]
        return cls(flow, places)

    @property
    def flow(self) -> str:
        """The flow whose fence this is."""
        return self._flow

    @property
    def partitions(self) -> tuple[tuple[str, int], ...]:
        """The (topic, partition) pairs that it reads."""
        return self._partitions

    def _offset_id(self, topic: str, partition: int) -> str:
        return f"{self._flow}/{topic}/{partition}"

    def _floor_id(self, topic: str, partition: int) -> str:
        return f"{self._offset_id(topic, partition)}/floor"

    @property
    def _watermark_id(self) -> str:
        return f"{self._flow}/watermark"

    def read(self, table: Fenced) -> Frontier:
        """Return what the handle's snapshot of the table accounts for."""
        offsets = {}
        for topic, partition in self._partitions:
            offset = table.transaction_version(self._offset_id(topic, partition))
            if offset is not None:
                offsets[topic, partition] = offset
        floors = {}
        for place in self._partitions:
            floor = table.transaction_version(self._floor_id(*place))
            if floor is not None:
                floors[place] = floor
        watermark = table.transaction_version(self._watermark_id)
        return Frontier(offsets, NO_WATERMARK if watermark is None else watermark, floors)

    def of_topics(self, table: Fenced) -> frozenset[str]:
        """Return the ids by which a table has which topics it is of."""
        now = {self._topics_id: number(*self._topics)}
        now |= {self._identity_id(topic): id_ for topic, id_ in self._ids.items()}
        return frozenset(n for n, told in now.items() if table.transaction_version(n) == told)

    def offset_ids(self, places: Iterable[tuple[str, int]]) -> dict[str, tuple[str, int]]:
        """Return the ids that tell the offsets of (topic, partition) places, each with its own."""
        return {self._offset_id(*place): place for place in places}

    def transactions(self, frontier: Frontier) -> list[Transaction]:
        """Return the actions that record a frontier."""
        found = [
            Transaction(self._offset_id(topic, partition), offset)
            for (topic, partition), offset in frontier.offsets.items()
        ]
        found += [
            Transaction(self._floor_id(topic, partition), floor)
            for (topic, partition), floor in frontier.floors.items()
        ]
        if frontier.watermark != NO_WATERMARK:
            found.append(Transaction(self._watermark_id, frontier.watermark))
        found += [
            Transaction(self._identity_id(topic), id_) for topic, id_ in self._ids.items()
        ]
        return [*found, Transaction(self._topics_id, number(*self._topics))]
