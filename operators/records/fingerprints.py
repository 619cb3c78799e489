"""Fingerprints: rejects of one kind have one, whichever records they are.

A fingerprint is ``<version>:<16 hex digits>``. Rows keep the one that they were written with, so
that groups never move: another way to make them is another version, beside those before it.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import polars as pl

VERSION: Final = 1
"""What new rejects have."""

KIND: Final = ("stage", "code", "schema_id", "message")
"""The columns of a reject that a fingerprint is made of, beside the stream's name."""

_NUMBER: Final = r"[-+]?\d+(?:[,_]\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?"
# What differs between records of one kind. Digits inside a name, as in line_1 or UTF-8, do not.
_VARIABLE: Final = re.compile(
    r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    r"|\b0[xX][0-9a-fA-F]+"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[-+]\d\d:?\d\d)?)?"
    rf"|(?<!\w)(?<![A-Za-z]-){_NUMBER}",
    re.ASCII,
)


class Kind(NamedTuple):
    """What the rejects of one fingerprint have in common."""

    stream: str
    stage: str
    code: str
    schema_id: str | None
    """The schema that wrote them; None also for an id that is no schema's, which is payload."""
    message: str
    """With # for each number, time and id in it."""


def _kind_1(stream: str, stage: str, code: str, schema_id: str | None, message: str) -> Kind:
    known = None if code == "unknown_schema" else schema_id
    return Kind(stream, stage, code, known, _VARIABLE.sub("#", message))


_KINDS: Final[Mapping[int, Callable[[str, str, str, str | None, str], Kind]]] = {1: _kind_1}


@lru_cache(maxsize=4096)
def kind_of(
    stream: str,
    stage: str,
    code: str,
    schema_id: str | None,
    message: str,
    version: int = VERSION,
) -> Kind:
    """Return what makes a reject one of its kind; raises KeyError for no version of here."""
    return _KINDS[version](stream, stage, code, schema_id, message)


def fingerprint(kind: Kind, version: int = VERSION) -> str:
    """Return the fingerprint of a kind."""
    told = json.dumps(kind, ensure_ascii=False, separators=(",", ":"))
    return f"{version}:{hashlib.sha256(told.encode()).hexdigest()[:16]}"


def version_of(text: str) -> int | None:
    """Return the version of what may be a fingerprint, None if it is none."""
    found = re.fullmatch(r"(\d{1,9}):[0-9a-f]{16}", text)
    return int(found[1]) if found else None


def fingerprints(stream: str, rejects: pl.DataFrame) -> pl.Series:
    """Return the fingerprint of each of a stream's rejects, with the columns of `KIND`."""
    kinds = rejects.select(KIND).unique()
    found = [fingerprint(kind_of(stream, *row)) for row in kinds.iter_rows()]
    kinds = kinds.with_columns(pl.Series("fingerprint", found, pl.String))
    joined = rejects.select(KIND).join(
        kinds, on=KIND, how="left", nulls_equal=True, maintain_order="left"
    )
    return joined["fingerprint"]
