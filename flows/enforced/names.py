"""What enforced topics are called, without what reads their files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from flows.environment import ENFORCE_PREFIX, SettingsError

FOLDER: Final = f"{ENFORCE_PREFIX}FOLDER"
"""The setting that names the folder of topics."""


def names_in(folder: Path) -> list[str]:
    """Return the names of the topics that a folder has files of."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(each.name for each in found if each.is_dir() and each.name[0] not in "._")


def folder_of(environ: Mapping[str, str] | None = None) -> Path | None:
    """Return the folder of the topics that are enforced here, None where none is set.

    Raises SettingsError for one that is none.
    """
    found = (os.environ if environ is None else environ).get(FOLDER)
    if not found:
        return None
    if not Path(found).is_dir():
        raise SettingsError(f"{FOLDER}: {found} is no folder")
    return Path(found)


def enforced_names(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the topics' names, without a look at their files; none where no folder is."""
    found = (os.environ if environ is None else environ).get(FOLDER)
    return names_in(Path(found)) if found else []
