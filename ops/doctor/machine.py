"""The machine: versions, and folders that can be written to, for good, with room."""

import contextlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.fs as pafs
from deltalake import DeltaTable, write_deltalake
from deltalake.fs import DeltaStorageHandler

from operators.connectors.delta.errors import reason
from operators.connectors.delta.look import HURRIED
from operators.connectors.delta.paths import local_folder
from operators.connectors.delta.table import unavailable
from operators.errors import KnownError
from ops.doctor.checks import NoteError

ROOM: Final = 2**30
"""How many bytes should be free where tables and states are."""

_PINNED: Final = re.compile(r"([\w-]+)(?:\[[\w,]+\])?==([\w.]+)$")
_PROBE: Final = bytes(65_536)


class MachineError(KnownError):
    """Something about this machine; the message says what to do."""


def versions() -> str:
    """Return the versions that matter; raises MachineError where one is not the one pinned."""
    found = [f"Python {platform.python_version()}", f"Millstream {version('millstream')}"]
    wrong = []
    for each in requires("millstream") or ():
        pinned = _PINNED.match(each)
        if pinned:
            name, wanted = pinned.groups()
            found.append(f"{name} {version(name)}")
            if version(name) != wanted:
                wrong.append(f"{name} {version(name)} instead of {wanted}")
    if wrong:
        raise MachineError(
            f"installed is {', '.join(wrong)}; install what the release is tested with: pip "
            "install --require-hashes -r locks/runtime.txt"
        )
    return ", ".join(found)


def folder(place: Path, setting: str, room: int = ROOM) -> str:
    """Write to a folder, or to the one that it would be made in, as flows do; nothing stays.

    Raises MachineError.
    """
    there = next(each for each in (place, *place.parents) if each.exists())
    if not there.is_dir():
        raise MachineError(f"{there} is no folder; name another with {setting}")
    try:
        with _probe(there) as probe:
            with probe.open("wb") as file:
                file.write(_PROBE)
                file.flush()
                os.fsync(file.fileno())
            _sync(there)
        free = shutil.disk_usage(there).free
    except OSError as error:
        raise MachineError(
            f"{there} cannot be written to ({error.strerror}); let this user write there, or name "
            f"another folder with {setting}"
        ) from error
    if free < room:
        raise MachineError(
            f"{there} has {free / 2**30:.2f} GiB left; make room: a flow ends when its disk is full"
        )
    made = "" if there == place else f", in which {place.name} is to be made"
    return f"{there} can be written to and synced, {free / 2**30:,.0f} GiB are free{made}"


@contextlib.contextmanager
def _probe(there: Path) -> Iterator[Path]:
    probe = there / f".millstream-doctor-{secrets.token_hex(4)}"
    try:
        yield probe
    finally:
        probe.unlink(missing_ok=True)


def _sync(there: Path) -> None:
    descriptor = os.open(there, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def storage(root: str, room: int = ROOM) -> str:
    """Write, list and read under the tables' root, in a folder or an object store.

    What was written is deleted again. Raises MachineError, StorageUnavailableError, and NoteError
    where only that cannot be done.
    """
    local = local_folder(root)
    if local is not None:
        return folder(local, "MILLSTREAM_DELTA_ROOT", room)
    # As a flow does it: with puts that fail where there is something already.
    where = f"{root.rstrip('/')}/millstream-doctor-{secrets.token_hex(4)}"
    rows = pa.table({"tried": [1]})
    try:
        for _ in range(2):
            write_deltalake(where, rows, mode="append", storage_options=HURRIED)
        found = DeltaTable(where, storage_options=HURRIED).to_pyarrow_table().num_rows
    except Exception as error:  # deltalake's and Arrow's have no common kind
        with contextlib.suppress(Exception):
            _clear(where)
        if (right := _lacking(error)) is not None:
            raise MachineError(
                f"{root}: these credentials may not {right} there ({reason(error)}); flows need to "
                "read, write and list"
            ) from error
        raise unavailable(root, error) from error
    try:
        _clear(where)
    except Exception as error:  # deltalake's and Arrow's have no common kind
        raise NoteError(
            f"{root} can be written, listed and read, which is all that flows do; what was tried "
            f"there, {where}, cannot be deleted ({reason(error)}): give that right to whoever runs "
            "millstream tables, forget or this, and delete it"
        ) from error
    if found != 2:
        raise MachineError(
            f"{root} does not give back what was written to it; look at what stands between"
        )
    return f"{root} can be written, listed and read"


def _clear(where: str) -> None:
    """Delete all files under a place in an object store."""
    files = pafs.PyFileSystem(DeltaStorageHandler(where, HURRIED))
    for each in files.get_file_info(pafs.FileSelector("", recursive=True)):
        if each.is_file:
            files.delete_file(each.path)


def _lacking(error: Exception) -> str | None:
    """Return what an object store does not let us do, None where it says something else."""
    text = str(error)
    if "necessary privileges" not in text and "403 Forbidden" not in text:
        return None
    if "list request" in text:
        return "list"
    return "write" if "performing PUT" in text or "performing POST" in text else "read"
