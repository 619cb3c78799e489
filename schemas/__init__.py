"""Avro schemas by record and version, ``<record>/<version>.avsc``, and the records' contracts.

A published version is never edited; a change is a new version that older data resolves to.
"""

import json
import uuid
import zlib
from functools import cache
from importlib.resources import files
from typing import Any

AvroSchema = dict[str, Any]


@cache
def records() -> tuple[str, ...]:
    """Return the records that have a schema, in order of their names."""
    return tuple(
        sorted(
            folder.name
            for folder in files(__name__).iterdir()
            if folder.is_dir() and folder.joinpath("1.avsc").is_file()
        )
    )


@cache
def versions(record: str) -> tuple[int, ...]:
    """Return the published versions of `record`, oldest first.

    Raises KeyError for a record that has none.
    """
    folder = files(__name__).joinpath(record)
    if not folder.is_dir():
        raise KeyError(record)
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(int(name[:-5]) for name in names if name.endswith(".avsc")))


@cache
def _text(record: str, version: int) -> str:
    return files(__name__).joinpath(record, f"{version}.avsc").read_text("utf-8")


def load(record: str, version: int) -> AvroSchema:
    """Return a fresh copy of one version's schema as plain JSON values."""
    return dict(json.loads(_text(record, version)))


def latest(record: str) -> AvroSchema:
    """Return the newest version: the schema that every older one is read as."""
    return load(record, versions(record)[-1])


def local_id(record: str, version: int) -> int:
    """Return the 4-byte id that a version has where no registry gives it one.

    31 bits of the CRC-32 of ``record/version``, so it needs no index file and never changes, and
    is a number of Java's, whose clients know no larger ones.
    """
    return former_id(record, version) & 0x7FFF_FFFF


def former_id(record: str, version: int) -> int:
    """Return the id that a version had once, which records out there still name."""
    return zlib.crc32(f"{record}/{version}".encode())


def local_guid(record: str, version: int) -> uuid.UUID:
    """Return the GUID that a version has where no registry gives it one (UUID v5)."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"millstream:{record}/{version}")


@cache
def contract(record: str) -> str | None:
    """Return the text of a record's ``contract.yaml``, None if it has none."""
    file = files(__name__).joinpath(record, "contract.yaml")
    return file.read_text("utf-8") if file.is_file() else None
