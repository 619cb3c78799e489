"""Durability: on a local disk, what a commit wrote outlives a power cut."""

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlparse

from deltalake import DeltaTable


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
    url = urlparse(table.table_uri)
    if url.scheme not in ("", "file"):
        return
    root = Path(unquote(url.path))
    log, version = root / "_delta_log", f"{table.version():020}"
    commit = log / f"{version}.json"
    folders = {root, log}
    for line in commit.read_text("utf-8").splitlines():
        added = json.loads(line).get("add")
        if added:
            path = root / unquote(added["path"])
            _sync(path)
            folders.add(path.parent)
    _sync(commit)
    checkpoint = log / f"{version}.checkpoint.parquet"
    if checkpoint.exists():
        _sync(checkpoint)
        _sync(log / "_last_checkpoint")
    for folder in folders:
        _sync(folder)


def sync_table(table: DeltaTable) -> None:
    """Flush a local table that may be new: its newest commit, and that its folder exists."""
    sync_commit(table)
    url = urlparse(table.table_uri)
    if url.scheme not in ("", "file"):
        return
    for folder in Path(unquote(url.path)).parents:
        try:
            _sync(folder)
        except PermissionError:
            return  # not ours to read, so not made by us
