"""Events of any stream, made of what is declared of it: the schema and the contract."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl

import schemas
from flows.streams import Stream
from operators.columns.expressions import one_row
from operators.contracts import Contract, load_contract
from operators.contracts.contract import Checked
from operators.contracts.files import Stated, field_kinds, load_checks
from operators.records.tables import TIME
from ops.simulate.params import Delivery
from ops.simulate.simulation import Simulation, deliver
from ops.simulate.troubles import NUMBER, SECOND_US, Breach, break_contract
from ops.simulate.values import KINDS, Field

_TRIES: Final = 30
_SAMPLE: Final = 200
_BROKEN: Final = 3
_DIFFERENT: Final = 50


@dataclass(frozen=True, slots=True)
class DeclaredParams(Delivery):
    """How many events of a stream, and of how many keys, a few of which have most of them.

    A second passes between two, now more, now less, where there is no `pace`.
    """

    records: int = 10_000
    keys: int = 1_000

    def problems(self) -> list[str]:
        """Return what is wrong with the parameters, in words."""
        return Delivery.problems(self) + [
            f"{name} is {getattr(self, name)}, not 1 or more"
            for name in ("records", "keys")
            if getattr(self, name) < 1
        ]


def simulate_declared(stream: Stream, params: DeclaredParams) -> Simulation:
    """Simulate events of a stream and their way to Kafka.

    Ids are unique, and what else the contract says holds of every event that is not sent to break
    it. Equal parameters give equal bytes with the same numpy; other troubles leave the events as
    they are. Raises ValueError for a contract that no events can be made for.
    """
    seeds = np.random.SeedSequence(params.seed).spawn(4)
    for_events, for_breaches, for_framing, for_troubles = map(np.random.default_rng, seeds)
    declared = Declared(stream, params.keys, for_events)
    events = declared.events(params, for_events)
    versions = for_framing.choice(_alike(stream.record), len(events)).astype(np.int8)
    breaches = declared.breaches(events.head(_SAMPLE), for_breaches)
    return deliver(
        stream, events, versions, params, breaches, stream.id, for_framing, for_troubles
    )


def _alike(record: str) -> list[int]:
    """Return the versions whose fields the newest has as they are."""
    newest = [(field["name"], field["type"]) for field in schemas.latest(record)["fields"]]
    return [
        version
        for version in schemas.versions(record)
        if all(
            (field["name"], field["type"]) in newest
            for field in schemas.load(record, version)["fields"]
        )
    ]


class Declared:
    """What events of a stream are like; the contract has the last word on each."""

    def __init__(self, stream: Stream, keys: int, rng: np.random.Generator) -> None:
        """Read the newest schema and the contract, and choose the texts that fields have.

        There are so many `keys` at the most. Raises ValueError for a pattern that no text can be
        made for and for a type that no value can, and ContractError.
        """
        record = stream.record
        schema = schemas.latest(record)
        self._record, self._id = record, stream.id
        unfit = [f"{n} ({k})" for n, (k, _) in field_kinds(schema).items() if k not in KINDS]
        if unfit:
            raise ValueError(
                f"no {record} can be made: its fields {', '.join(unfit)} are of types "
                f"that no values are made for; there are {', '.join(KINDS)}"
            )
        self._contract: Contract = load_contract(record)
        self._checks = load_checks(record)
        self._fields = {
            name: Field(
                name,
                kind,
                nullable and name not in (stream.id, stream.key),
                stream.fields[name],
                _symbols(field["type"]),
                tuple(check for check in self._checks if name in check.fields),
            )
            for field, (name, (kind, nullable)) in zip(
                schema["fields"], field_kinds(schema).items(), strict=True
            )
        }
        self._among = {
            name: field.among(keys if name == stream.key else _DIFFERENT, rng)
            for name, field in self._fields.items()
            if name != stream.id
        }

    def events(self, params: DeclaredParams, rng: np.random.Generator) -> pl.DataFrame:
        """Return events in the order of event time; raises ValueError if none can be made."""
        n, fitted = params.records, self._fields[self._id].fitted
        gaps = rng.exponential(1.0, n)
        times = np.arange(n) / params.pace if params.pace else np.cumsum(gaps)
        begin = int(params.start.timestamp() * SECOND_US)
        tag = np.random.SeedSequence(params.seed).generate_state(1)[0]
        given = pl.DataFrame(
            {
                self._id: [fitted(f"{self._record}-{tag:08x}-{i:010}") for i in range(n)],
                "event_time": pl.Series(begin + (times * SECOND_US).astype(np.int64)),
            }
        ).cast({"event_time": TIME})
        if given[self._id].is_duplicated().any():
            raise ValueError(f"{self._id} is too short to tell {n:,} events apart")
        made = self._drawn(given, rng)
        for _ in range(_TRIES):
            good, refusals, *_ = self._check(made)
            if not refusals:
                return made
            again = self._drawn(given.filter(~good), rng)
            order = np.arange(n)
            order[~good.to_numpy()] = n + np.arange(len(again))
            made = pl.concat([made, again])[order]
        raise ValueError(
            f"no {self._record} can be made that its contract allows: {refusals[0].message}"
        )

    def breaches(self, sample: pl.DataFrame, rng: np.random.Generator) -> list[Breach]:
        """Return, for the checks of the contract, what breaks each of them in any good event.

        `sample` has good events.
        """
        everywhere = np.full(len(sample), NUMBER["contract"], np.int8)
        found = []
        # One that stops the flow is no trouble to be made.
        for check in (each for each in self._checks if each.severity != "stop"):
            for values in self._candidates(check, sample, rng):
                breach = Breach(values, check.code)
                refusals = self._check(break_contract(sample, everywhere, [breach])[0]).refusals
                if [each.code for each in refusals] == [check.code] * len(sample):
                    found.append(breach)
        return found

    def _candidates(
        self, check: Stated, sample: pl.DataFrame, rng: np.random.Generator
    ) -> Iterator[dict[str, object]]:
        if check.where is None:
            for name in check.fields:
                for value in self._fields[name].breaking(check):
                    yield {name: value}
            return
        condition = one_row(check.where)
        given = sample[np.arange(_SAMPLE) % len(sample)].select(self._id, "event_time")
        drawn = self._drawn(given, rng).filter(~condition.fill_null(value=False))
        read = drawn.select(pl.col(*condition.meta.root_names()).to_physical())
        yield from read.head(_BROKEN).to_dicts()

    def _drawn(self, given: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
        """Return events with the id and the event time that are given."""
        time = given["event_time"]
        return pl.DataFrame(
            [
                given[name]
                if name in given.columns
                else field.draw(self._among[name], time, rng)
                for name, field in self._fields.items()
            ]
        )

    def _check(self, events: pl.DataFrame) -> Checked:
        return self._contract.check(
            events, pl.Series([None], dtype=pl.Int64).new_from_index(0, len(events))
        )


def _symbols(avro: Any) -> tuple[str, ...]:
    if isinstance(avro, list):
        return _symbols(next(branch for branch in avro if branch != "null"))
    return tuple(avro.get("symbols", ())) if isinstance(avro, dict) else ()
