"""Stores: the recovery directories that a tool was told of, each with the flow whose it is."""

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from operators.connectors import recovery, recovery_owner


@dataclass(frozen=True)
class Store:
    """A recovery directory; `flow` is None where there is no store in it."""

    directory: Path
    flow: str | None
    in_use: bool


def stores(directories: Iterable[Path]) -> list[Store]:
    """Look at recovery directories; raises OtherOwnerError of what is no store."""
    return [_store(each) for each in directories]


def _store(directory: Path) -> Store:
    try:
        owner = recovery_owner.owner(directory)
    except sqlite3.OperationalError as error:
        raise recovery_owner.OtherOwnerError(
            f"the recovery directory {directory} cannot be read ({error}): give access to it"
        ) from error
    return Store(directory, owner, recovery.in_use(directory))


def directories(given: Iterable[Path] | None) -> list[Path]:
    """Return those that were given, else that of Bytewax's own setting, if there is one."""
    own = os.environ.get("BYTEWAX_RECOVERY_DIRECTORY")
    return list(given) if given else [Path(own)] if own else []
