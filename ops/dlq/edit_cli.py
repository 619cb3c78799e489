"""``millstream dlq edit`` and ``approve``: what records are to be instead, and a second look."""

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from flows import settings as settings_
from operators.avro import Lookup
from ops.dlq.changes import ChangeError, patch
from ops.dlq.editing import AS_IT_CAME, GOOD, Edit, Editor, assigned, each, replaced, undone
from ops.dlq.edits import Edits
from ops.dlq.filters import Filters, opened, root_of
from ops.dlq.quarantine import PLACE, Quarantine, QuarantineError
from ops.dlq.records import at, name_of
from ops.dlq.sought import Sought, matching
from ops.dlq.streams import needs_approval
from ops.dlq.text_editor import Draft
from ops.progress import bar


@dataclass(frozen=True)
class _Found:
    quarantine: Quarantine
    rows: pl.DataFrame


def edit(
    args: argparse.Namespace, sought: Sought, lookup: Lookup
) -> tuple[dict[str, Any], int]:
    """Propose, and save if that is asked for; return what is to be told, and the exit code.

    Raises QuarantineError.
    """
    if args.save and not args.why:
        settings_.refuse("--save needs --why: the reason is kept with the edit", 2)
    root, filters = root_of(args), Filters.of(args)
    if args.record:
        filters = replace(filters, where=at(args.record), discarded=None)
    quarantines = opened(args)
    found = [_Found(each_, _rows(each_, filters, sought, lookup)) for each_ in quarantines]
    found = [each_ for each_ in found if each_.rows.height]
    if args.record and not found:
        raise QuarantineError(
            f"no reject of {'/'.join(map(str, args.record))}; list shows which there are"
        )
    if (args.editor or args.whole) and sum(each_.rows.height for each_ in found) != 1:
        settings_.refuse("--editor and --as are for one record: name it", 2)
    edits, told, draft = Edits(root), _Told(args.limit), Draft()
    asked = vars(filters) | vars(sought) | {"stream": args.stream}
    for each_ in found:
        proposed = _proposed(args, each_, edits, lookup, draft)
        told.add(each_.quarantine.name, proposed)
        good = proposed.filter(pl.col("outcome").is_in([GOOD, AS_IT_CAME]))
        if args.save and good.height:
            stream = each_.quarantine.stream
            name = edits.save(stream.name, good, _how(args), asked, args.why)
            told.saved.append({
                "edit": name, "stream": stream.name, "records": good.height,
                "needs_approval": needs_approval(stream) and not args.undo,
            })  # fmt: skip
    if not (args.save and told.saved):
        told.draft = draft.path
    else:
        draft.remove()
    return told.to_json(), 1 if args.save and not told.saved else 0


def _rows(
    quarantine: Quarantine, filters: Filters, sought: Sought, lookup: Lookup
) -> pl.DataFrame:
    frames = [*matching(quarantine, filters, sought, lookup)]
    rows = pl.concat(frames) if frames else pl.DataFrame(schema={"stage": pl.String()})
    return rows.filter(pl.col("stage") != "rule")


def _proposed(
    args: argparse.Namespace, found: _Found, edits: Edits, lookup: Lookup, draft: Draft
) -> pl.DataFrame:
    stream = found.quarantine.stream
    mine = edits.of(stream.name)
    if args.undo:
        return undone(stream, found.rows, mine)
    try:
        how = _edit(args, found.quarantine, lookup, draft)
    except ChangeError as error:
        settings_.refuse(str(error), 2)
    editor, frames = Editor(stream, lookup), []
    with bar("records", found.rows.height, args.json) as shown:
        for rows in found.rows.iter_slices(10_000):
            try:
                frames.append(editor.propose(rows, mine, how))
            except ChangeError as error:
                raise QuarantineError(str(error)) from error
            shown(sum(frame.height for frame in frames))
    return pl.concat(frames)


def _edit(
    args: argparse.Namespace, quarantine: Quarantine, lookup: Lookup, draft: Draft
) -> Edit:
    if args.patch is not None:
        if not args.patch.lstrip().startswith("["):
            args.patch = _text(Path(args.patch))
        return each(patch(args.patch))
    if args.assignments is not None:
        return assigned(args.assignments, quarantine.stream, lookup)
    if args.editor:
        return each(draft.edited)
    try:
        record = json.loads(_text(args.whole))
    except ValueError as error:
        raise ChangeError(f"{args.whole}: {error}") from error
    return replaced(record, quarantine.stream)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise ChangeError(f"{path}: is not UTF-8") from error


def _how(args: argparse.Namespace) -> str | None:
    if args.assignments is not None:
        return f"set {'; '.join(args.assignments)}"
    if args.patch is not None:
        return f"patch {args.patch}"
    return "editor" if args.editor else "undo" if args.undo else "as a whole"


class _Told:
    """What an edit tells: the first few records, and how many have each outcome."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._records: list[dict[str, Any]] = []
        self._outcomes: list[dict[str, Any]] = []
        self.saved: list[dict[str, Any]] = []
        self.draft: Path | None = None

    def add(self, stream: str, proposed: pl.DataFrame) -> None:
        shown = records(proposed.head(self._left))
        self._records += shown
        self._left -= len(shown)
        counts = proposed["outcome"].value_counts().sort("count", descending=True)
        self._outcomes += [{"stream": stream, **line} for line in counts.to_dicts()]

    def to_json(self) -> dict[str, Any]:
        return {
            "records": self._records, "outcomes": self._outcomes, "saved": self.saved,
            "draft": self.draft and str(self.draft),
        }  # fmt: skip


def records(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return records of an edit as JSON has them: which, and what changes."""
    told = "outcome" in rows.columns
    outcomes = rows["outcome"].to_list() if told else [None] * rows.height
    return [
        {"record": name_of(row), "changes": json.loads(row["changes"]), "outcome": outcome}
        for row, outcome in zip(
            rows.select(*PLACE, "changes").to_dicts(), outcomes, strict=True
        )
    ]


def approve(args: argparse.Namespace) -> dict[str, Any]:
    """Return an edit, approved if that is asked for; raises QuarantineError."""
    edits = Edits(root_of(args))
    rows = edits.named(args.edit)
    if args.save:
        edits.approve(args.edit, args.why)
    told = rows.row(0, named=True)
    return {
        **{name: told[name] for name in ("edit", "stream", "who", "at", "why", "how")},
        "records": records(rows), "approved": args.edit in edits.approved(),
    }  # fmt: skip
