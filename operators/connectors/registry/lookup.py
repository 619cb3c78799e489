"""Schemas by their ids in a registry that may be away, and that may not know them yet."""

import logging
import time
from collections.abc import Callable
from typing import Final, Protocol

from operators.avro import SchemaId
from operators.connectors.outage import PATIENCE, Outage, wait_for
from operators.connectors.registry.errors import (
    RegistryAwayError,
    RegistryDeniedError,
    RegistryUnavailableError,
)
from operators.connectors.registry.kept import KeptSchemas
from operators.connectors.shutdown import SHUTDOWN, Shutdown
from schemas import AvroSchema

LOG: Final = logging.getLogger("millstream.registry")

NOT_YET_SECONDS: Final = 10.0
"""How long records wait for a schema that is not there yet: at once, and of each minute."""

UNKNOWN_SECONDS: Final = 30.0
"""How long an id that was not found is not asked for again."""

ASKING_SECONDS: Final = 20.0
"""How much of each minute goes into asking for ids that turn out to be unknown."""

_MAX_UNKNOWN: Final = 100_000
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 1.0
_WORTH_WAITING: Final = 2.0
_ADVICE: Final = (
    "check that it runs, and the settings that begin with MILLSTREAM_SCHEMA_REGISTRY"
)


class Registry(Protocol):
    """What a registry's client does; both raise RegistryAwayError and RegistryDeniedError."""

    where: str
    """Its URL, without a password."""

    def check(self) -> None:
        """Return if a registry answers there."""

    def fetch(self, schema_id: SchemaId) -> AvroSchema:
        """Return the schema of an id; raises KeyError if there is none, perhaps with a why."""


class Allowance:
    """So many seconds of each minute."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        self._most, self._clock = seconds, clock
        self._left, self._as_of = seconds, clock()

    def left(self) -> float:
        """Return how many seconds may be spent now."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._as_of) * self._most / 60)
        self._as_of = now
        return max(self._left, 0.0)

    def spend(self, seconds: float) -> None:
        """Take seconds away."""
        self._left = self.left() - seconds


class RegistryLookup:
    """Finds schemas in a registry, once each.

    A registry that is away is waited for, two minutes long. An id that is not there may be
    there soon: a producer registers its schema and writes at once, and what has the one has not
    yet heard of the other. So at first sight an id is asked for again for up to
    `NOT_YET_SECONDS`, while the records wait; then it is unknown, and for `UNKNOWN_SECONDS` not
    asked for. Made-up ids must not stop the flow: all ids together have `NOT_YET_SECONDS` of a
    minute to wait in and `ASKING_SECONDS` to be asked for.
    """

    def __init__(
        self,
        registry: Registry,
        kept: KeptSchemas,
        *,
        patience: float = PATIENCE,
        shutdown: Shutdown = SHUTDOWN,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`patience` is how long, in seconds, a registry that is away is waited for."""
        self._registry, self._kept = registry, kept
        self._patience, self._shutdown, self._clock, self._sleep = (
            patience,
            shutdown,
            clock,
            sleep,
        )
        self._known: dict[SchemaId, AvroSchema] = {}
        # By id, until when it is not asked for.
        self._unknown: dict[SchemaId, float] = {}
        self._waiting = Allowance(NOT_YET_SECONDS, clock)
        self._asking = Allowance(ASKING_SECONDS, clock)
        what = f"schema registry {registry.where}"
        self._outage = Outage(
            what, LOG, RegistryUnavailableError, _ADVICE, clock, service="schema registry"
        )

    def begin(self, timeout: float) -> None:
        """Take up what earlier runs have kept, and ask the registry whether it is there.

        With nothing kept it is waited for, `timeout` seconds long. Raises
        RegistryUnavailableError if it is not there then, if it lets nobody in with these
        settings, or if a kept id is another schema's there.
        """
        kept = self._kept.load()
        try:
            if self._is_there(0.0 if kept else timeout, needed=not kept):
                self._compare(kept)
            else:
                LOG.warning("going on without it, with the %d schemas that earlier runs kept",
                            len(kept))  # fmt: skip
        except RegistryDeniedError as error:
            raise RegistryUnavailableError(
                f"{self._outage.what}: {error}; check MILLSTREAM_SCHEMA_REGISTRY_USER or "
                "MILLSTREAM_SCHEMA_REGISTRY_TOKEN, and what they may read"
            ) from error
        self._known = kept

    def _is_there(self, timeout: float, *, needed: bool) -> bool:
        try:
            wait_for(
                self._registry.check,
                (RegistryAwayError,),
                self._outage,
                patience=timeout,
                shutdown=self._shutdown,
                sleep=self._sleep,
            )
        except RegistryUnavailableError:
            if needed:
                raise
            return False
        return True

    def __call__(self, schema_id: SchemaId) -> AvroSchema:
        """Return the schema of an id.

        Raises KeyError if there is none, and RegistryUnavailableError if the registry is away
        for too long, or too long for a flow that was told to end.
        """
        known = self._known.get(schema_id)
        if known is not None:
            return known
        until = self._unknown.get(schema_id)
        if until is not None and self._clock() < until:
            raise KeyError(schema_id)
        if not self._asking.left():
            raise KeyError(
                schema_id, "was not asked for, as too many unknown ids came before it"
            )
        left = self._waiting.left() if until is None and _may_come(schema_id) else 0.0
        schema = self._wait(schema_id, left if left >= _WORTH_WAITING else 0.0)
        self._unknown.pop(schema_id, None)
        self._known[schema_id] = schema
        self._kept.keep(schema_id, schema)
        return schema

    def _wait(self, schema_id: SchemaId, left: float) -> AvroSchema:
        """Ask until the id is known, for `left` seconds; time with the registry away is free."""
        pause, longest = _FIRST_PAUSE, left
        while True:
            try:
                return self._ask(schema_id)
            except KeyError:
                if left <= 0:
                    self._remember(schema_id)
                    raise
            if left == longest:
                LOG.warning("schema id %s is not at %s: waiting up to %.0f s for it",
                            schema_id, self._registry.where, left)  # fmt: skip
            if not self._shutdown.left:
                reason = f"no schema id {schema_id} (yet)"
                raise self._outage.given_up(longest - left, reason, self._shutdown)
            pause = min(pause, left)
            self._sleep(pause)
            self._waiting.spend(pause)
            left -= pause
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _ask(self, schema_id: SchemaId) -> AvroSchema:
        def call() -> AvroSchema:
            began = self._clock()
            try:
                return self._registry.fetch(schema_id)
            except KeyError:
                self._asking.spend(self._clock() - began)
                raise

        away = (RegistryAwayError, RegistryDeniedError)
        try:
            return wait_for(
                call,
                away,
                self._outage,
                patience=self._patience,
                shutdown=self._shutdown,
                sleep=self._sleep,
            )
        except KeyError:
            self._outage.ended()
            raise

    def _remember(self, schema_id: SchemaId) -> None:
        self._unknown.pop(schema_id, None)
        if len(self._unknown) >= _MAX_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[schema_id] = self._clock() + UNKNOWN_SECONDS

    def _compare(self, kept: dict[SchemaId, AvroSchema]) -> None:
        """Refuse a registry that gives ids anew: records would be read as what they are not."""
        for schema_id, schema in kept.items():
            try:
                found = self._registry.fetch(schema_id)
            except KeyError:
                LOG.warning("schema id %s is no longer at %s: its records are read by what "
                            "earlier runs kept", schema_id, self._registry.where)  # fmt: skip
                continue
            except RegistryAwayError:
                return
            if found != schema:
                raise RegistryUnavailableError(
                    f"{self._outage.what}: id {schema_id} is another schema than the one that "
                    "this flow has read records with: the registry was made anew or restored "
                    "from an older copy. Restore it; or, if no record of the old schema is left "
                    f"to read, remove {self._kept.folder}"
                )


def _may_come(schema_id: SchemaId) -> bool:
    """Tell whether a registry may yet give a schema this id: its numbers are Java's, from 1."""
    return not isinstance(schema_id, int) or 0 < schema_id < 2**31
