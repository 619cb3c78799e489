"""Durability: on a local disk, what a commit wrote outlives a power cut."""

import contextlib
import json
import os
from pathlib import Path
from urllib.parse import unquote

from deltalake import DeltaTable

from operators.connectors.delta.paths import local_folder
from operators.connectors.pulse import PULSE


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_commit(table: DeltaTable) -> None:
    """Flush the newest commit of a local table to the disk: its files, itself, the folders.

    deltalake does not, and the recovery store, which does, must never be ahead of a table.
    Object stores are durable when they answer; for them this does nothing.
    """
    PULSE.got_on()
    root = local_folder(table.table_uri)
    if root is None:
        return
    log, version = root / "_delta_log", f"{table.version():020}"
    commit = log / f"{version}.json"
    paths = [*_added(commit, root), commit]
    checkpoint = log / f"{version}.checkpoint.parquet"
    if checkpoint.exists():
        paths += [checkpoint, log / "_last_checkpoint"]
    folders = {root, log}
    for path in paths:
        # What another has cleaned up since is no part of the table any more, and the last
        # checkpoint's name is a hint that a crash may have left out.
        with contextlib.suppress(FileNotFoundError):
            _sync(path)
            folders.add(path.parent)
    for folder in folders:
        _sync(folder)


def _added(commit: Path, root: Path) -> list[Path]:
    """Return the files that a commit has added, as far as they lie in the table's folder."""
    try:
        lines = commit.read_text("utf-8").splitlines()
    except FileNotFoundError:
        return []  # a checkpoint has taken its place
    added = [each["add"]["path"] for line in lines if "add" in (each := json.loads(line))]
    return [root / unquote(path) for path in added if "://" not in path]


def sync_table(table: DeltaTable) -> None:
    """Flush a local table that may be new: its newest commit, and that its folder exists."""
    sync_commit(table)
    root = local_folder(table.table_uri)
    if root is None:
        return
    # Those that it lies in, not those of a link to it.
    for folder in root.resolve().parents:
        try:
            _sync(folder)
        except PermissionError:
            return  # not ours to read, so not made by us


def sum_up(table_uri: str) -> None:
    """Write a checkpoint of a table as it is now, so that who opens it reads one file."""
    table = DeltaTable(table_uri)
    table.create_checkpoint()
    sync_commit(table)
