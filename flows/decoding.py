"""Decoding: what reads a stream's records, and what these must be like."""

from functools import partial

import schemas
from flows.streams import Stream
from operators.avro import Decoder, Lookup
from operators.changes import ChangeDecoder, check_rows
from operators.contracts import load_contract
from operators.contracts.contract import Checks


def decoder_of(stream: Stream, lookup: Lookup) -> Decoder | ChangeDecoder:
    """Return what decodes a stream's records; `lookup` finds schemas by their ids."""
    latest = schemas.latest(stream.record)
    versions = [schemas.load(stream.record, n) for n in schemas.versions(stream.record)]
    if stream.changes is None:
        return Decoder(latest, lookup, versions)
    return ChangeDecoder(stream.changes, latest, lookup, versions)


def contract_of(stream: Stream, future_bound_us: int) -> Checks:
    """Return what checks a stream's records: of changes the rows that they make."""
    check = partial(load_contract(stream.record).check, future_bound_us=future_bound_us)
    return check if stream.changes is None else partial(check_rows, check)
