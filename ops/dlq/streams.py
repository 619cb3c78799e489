"""The streams whose rejects are looked into: those declared, and topics that are enforced here.

What is asked of either is asked here, so that the commands need not know which one it is.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Protocol

import schemas
from flows import decoding
from flows import settings as settings_
from flows.enforced.loading import enforce_settings, enforced
from flows.enforced.topic import Enforced
from flows.streams import STREAMS, Stream
from operators.avro import Lookup
from operators.avro.decode import Decodes
from operators.avro.explain import Explained, Explainer
from operators.avro.framing import Headers
from operators.changes import ChangeDecoder
from operators.contracts import files, load_contract
from operators.contracts.contract import Checks, Contract
from operators.json_schema import JsonDecoder, JsonExplainer
from ops.dlq.lookups import lookup as lookup


class Explains(Protocol):
    """Explains values, as `Explainer` does."""

    def explain(
        self, values: Sequence[bytes | None], headers: Sequence[Headers | None]
    ) -> list[Explained]:
        """Explain each value with its record's headers."""


def known_streams() -> list[Stream]:
    """Return every stream and enforced topic; raises SettingsError for files that are wrong."""
    return [*STREAMS, *enforced()]


def named(name: str) -> Stream:
    """Return the one of a name."""
    (found,) = (each for each in known_streams() if each.name == name)
    return found


def topic_of(stream: Stream) -> str:
    """Return the topic that is read; raises SettingsError."""
    if isinstance(stream, Enforced):
        return stream.topic
    return settings_.declared(stream).topic


def future_bound_of(stream: Stream) -> timedelta:
    """Return how far an event may be ahead of its Kafka timestamp; raises SettingsError."""
    if isinstance(stream, Enforced):
        return enforce_settings().future_bound
    return settings_.declared(stream).future_bound


def contract_of(stream: Stream, future_bound_us: int) -> Checks:
    """Return what checks its records."""
    if isinstance(stream, Enforced):
        return partial(stream.contract.check, future_bound_us=future_bound_us)
    return decoding.contract_of(stream, future_bound_us)


def declared_contract(stream: Stream) -> Contract:
    """Return its contract as it is declared; raises ContractError."""
    return stream.contract if isinstance(stream, Enforced) else load_contract(stream.record)


def needs_approval(stream: Stream) -> bool:
    """Tell whether a second person has to approve what somebody edits."""
    if isinstance(stream, Enforced):
        return stream.needs_approval
    return files.needs_approval(stream.record)


def id_of(stream: Stream) -> str:
    """Return the field that tells its records apart, "" where none is declared."""
    return stream.told_by if isinstance(stream, Enforced) else stream.id


def decoder_of(stream: Stream, lookup: Lookup) -> Decodes | ChangeDecoder:
    """Return what decodes its records."""
    if isinstance(stream, Enforced):
        return stream.decoder(lookup)
    return decoding.decoder_of(stream, lookup)


def explainer_of(stream: Stream, lookup: Lookup) -> Explains:
    """Return what explains its records."""
    decoder = decoder_of(stream, lookup) if isinstance(stream, Enforced) else None
    if isinstance(decoder, JsonDecoder):
        return JsonExplainer(decoder.versions)
    return Explainer(lookup)


def newest_of(stream: Stream) -> tuple[int, Any]:
    """Return the newest version of its schema, and the schema."""
    if isinstance(stream, Enforced):
        return list(stream.schemas.items())[-1]
    version = schemas.versions(stream.record)[-1]
    return version, schemas.load(stream.record, version)
