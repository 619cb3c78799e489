"""Apart: topics and folders that must not be the same one.

Consumer groups may be: no flow joins one. Each commits its offsets there by topic, for lag tools
alone, and what a flow reads next is in its recovery store.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from operators.connectors.delta.paths import local_folder

_RECOVERY: Final = "the recovery directory (-r)"


def same_topics(named: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each topic that is already another's; `named` are topics by variable.

    A flow that writes to what it or another flow reads takes its own messages for records, and
    two outputs in one topic cannot be told apart.
    """
    known: dict[str, str] = {}
    for variable, topic in named.items():
        if (other := known.setdefault(topic, variable)) != variable:
            yield (
                f"{variable}: {topic!r} is {other} as well; each needs a topic of its own, or a "
                "flow reads what it or another one writes"
            )


def same_folders(
    tables: str, recovery: Path | None, others: Mapping[str, str]
) -> Iterator[str]:
    """Yield a line for each pair of folders that must be apart and are not.

    `tables` is MILLSTREAM_DELTA_ROOT, `recovery` the recovery directory; `others` are folders
    that are only read, by variable. What is in an object store or behind a server's URL is apart.
    """
    root = "MILLSTREAM_DELTA_ROOT"
    found = {root: tables, _RECOVERY: str(recovery or ""), **others}
    places = {
        name: folder.resolve()
        for name, place in found.items()
        if place and (folder := local_folder(place))
    }
    known: dict[Path, str] = {}
    for name, place in places.items():
        if (other := known.setdefault(place, name)) != name:
            yield f"{name}: is the folder of {other} as well; each needs one of its own"
    mine, kept = places.get(root), places.get(_RECOVERY)
    if mine is None or kept is None or mine == kept:
        return
    # To start anew means to empty one of them, which must not take the other with it.
    if kept.is_relative_to(mine):
        yield f"{root}: {_RECOVERY} lies in it; each needs a folder outside of the other"
    elif mine.is_relative_to(kept):
        yield f"{root}: lies in {_RECOVERY}; each needs a folder outside of the other"
