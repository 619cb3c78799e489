"""Paths: where tables lie, in folders as people name them or in an object store."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

# What deltalake takes for something else than itself, or panics on, wherever it is in a path.
_UNUSABLE: Final = re.compile(r"[\x00-\x1f\x7f\\^|\[\]]|%[0-9A-Fa-f]{2}")


def table_uri(root: str, name: str) -> str:
    """Return where a table lies under the root: an absolute path, or an object store's URL."""
    folder = local_folder(root)
    return f"{root.rstrip('/')}/{name}" if folder is None else str(folder / name)


def local_folder(place: str) -> Path | None:
    """Return the folder that a root or a table's URL means; None for an object store's.

    A path may be relative and begin with `~`. A `file://` URL is encoded as URLs are.
    """
    url = urlsplit(place)
    if url.scheme == "file":
        return Path(unquote(url.path))
    if "://" in place:
        return None
    # What is nobody's home is left as it is; `Path.expanduser` would raise.
    return Path(os.path.expanduser(place)).absolute()


def check_root(root: str) -> None:
    """Raise ValueError for a root that no table can be kept under."""
    if root.startswith("file:") and urlsplit(root).netloc not in ("", "localhost"):
        raise ValueError(f"{root} names another host; write file:///path")
    if root.startswith("~") and os.path.expanduser(root) == root:
        raise ValueError(f"{root}: there is no such user's home")
    folder = local_folder(root)
    found = None if folder is None else _UNUSABLE.search(str(folder))
    if found:
        raise ValueError(
            f"{folder}: Delta tables cannot be kept in a folder whose path contains "
            f"{found[0]!r}; name another"
        )
