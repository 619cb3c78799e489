"""The commands of ``millstream dlq`` that explain one record; each returns its status."""

import argparse
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from flows.stream_names import STREAM_NAMES
from operators.avro.explain import Explained, Explainer
from operators.connectors.delta.paths import table_uri
from operators.connectors.delta.reading import read
from operators.records.columns import KEY_ID, RECORD
from ops.dlq import shown
from ops.dlq.became import tell
from ops.dlq.filters import opened, root_of
from ops.dlq.lines import dump, printable
from ops.dlq.lookups import lookup_or_why
from ops.dlq.quarantine import PLACE, Place, Quarantine, QuarantineError, with_fingerprints
from ops.dlq.records import COLUMNS, at, headers_of
from ops.sealed import SEALED, decrypted

if TYPE_CHECKING:
    from ops.dlq.streams import Explains


def _found(args: argparse.Namespace) -> tuple[list[dict[str, Any]], Explained]:
    rows = find(root_of(args), opened(args), args.record)
    first = rows[0]
    explainer = _explainer(first["stream"])
    return rows, explainer.explain([first["value"]], [headers_of(first)])[0]


def _explainer(stream: str) -> "Explains":
    if stream in STREAM_NAMES:
        return Explainer(lookup_or_why)
    # Enforced topics may have JSON; what reads their files takes a while to import.
    from ops.dlq.streams import explainer_of, named

    return explainer_of(named(stream), lookup_or_why)


def show(args: argparse.Namespace) -> int:
    """Print all about one record."""
    rows, found = _found(args)
    tell(root_of(args), rows)
    mended = None
    if found.broken is None and rows[0]["stage"] != "rule":
        # Behind what does not need it: what knows contracts takes a while to import.
        from ops.dlq.mending import mended_of

        mended = mended_of(rows[0], lookup_or_why)
    if args.json:
        return dump(shown.to_json(rows, found) | {"repair": mended and mended.to_json()})
    shown.show(rows, found)
    for line in mended.lines() if mended else ():
        print(printable(line))
    return 0


def decode(args: argparse.Namespace) -> int:
    """Print a record's value; 1 if not all of it decodes."""
    _, found = _found(args)
    dump(shown.decoded(found) if args.json else found.record)
    if found.broken is None:
        return 0
    if not args.json:
        print(f"millstream: byte {found.broken.at}: {found.broken.why}", file=sys.stderr)
    return 1


def find(root: str, quarantines: list[Quarantine], place: Place) -> list[dict[str, Any]]:
    """Return the rejects of one record, one for each reason, with `COLUMNS` and `RECORD`.

    What bronze alone has of the record is filled in, what is encrypted decrypted. Raises
    QuarantineError if there is none, and NoKeyError.
    """
    where = at(place)
    for each in quarantines:
        columns = ", ".join((*COLUMNS, *SEALED))
        rows = each.query(f"SELECT {columns} FROM rows WHERE {where} ORDER BY code")  # noqa: S608 # quoted
        if rows.height:
            found = with_fingerprints(each.name, decrypted(rows)).to_dicts()
            for row in found:
                if row["stage"] == "rule" and each.stream.alone:
                    row.update(_ingested(root, each, where))
            return found
    raise QuarantineError(
        f"no reject of {'/'.join(map(str, place))}; list shows which there are"
    )


def _ingested(root: str, quarantine: Quarantine, where: str) -> dict[str, Any]:
    """Return what bronze has of a record that passed decoding; nothing if that is gone."""
    table = quarantine.stream.bronze
    uri = table_uri(root, table.name)
    if not DeltaTable.is_deltatable(uri):
        return {}
    try:
        kinds = {n: table.columns[n] for n in (*PLACE, *RECORD)} | {KEY_ID: pl.String()}
        rows = read(DeltaTable(uri), kinds, where)
    except DeltaError as error:
        raise QuarantineError(f"{table.name}: {error}") from error
    return decrypted(rows).select(RECORD).row(0, named=True) if rows.height else {}
