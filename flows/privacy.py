"""Privacy: what flows and tools do to a stream's personal data, as its contract declares it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from flows.privacy_settings import PrivacySettings
from flows.streams import Stream
from operators.connectors.delta.accounts import tables_there
from operators.connectors.delta.definitions import history
from operators.connectors.delta.table import reaching
from operators.contracts import REPAIRS
from operators.contracts.contract import Checked, Checks
from operators.errors import KnownError
from operators.privacy import Guard
from operators.records.tables import Table
from operators.rules.rule import Rule

_PII: Final = "pii "


class MixedTreatmentError(KnownError):
    """A table has rows of which something else was done to personal data."""


def guard_of(settings: PrivacySettings, stream: Stream) -> Guard:
    """Return what does to a stream's personal data what is declared; raises ContractError."""
    return Guard(stream.privacy, settings.key_ring)


def unfit(settings: PrivacySettings, streams: Sequence[Stream]) -> Iterator[str]:
    """Yield why a flow of streams cannot hide their personal data as it is declared."""
    guards = {each.name: guard_of(settings, each) for each in streams}
    for each in streams:
        privacy = guards[each.name].privacy
        if privacy.needs_key and not guards[each.name].ring:
            yield (
                "MILLSTREAM_PRIVACY_KEYS is missing, or its file: the contract of "
                f"{each.record} hides personal data with a key"
            )
        for name in (each.id, each.key):
            if privacy.of("silver").get(name) == "mask":
                yield (
                    f"{each.record}/contract.yaml: privacy.silver masks {name}, by which records "
                    "are told apart: make it a token"
                )
            having = [of for of in streams if name in of.fields]
            told = {guards[of.name].privacy.of("silver").get(name) for of in having}
            if len(told) > 1:
                yield (
                    f"{' and '.join(of.record for of in having)} are joined by {name}, which their "
                    "contracts treat differently in silver: treat it alike"
                )


def guarded(check: Checks, guard: Guard) -> Checks:
    """Return a contract's check whose rows have of personal data what silver has."""
    if not guard.privacy.of("silver"):
        return check

    def treated(frame: pl.DataFrame, timestamps: pl.Series) -> Checked:
        found = check(frame, timestamps)
        rows = guard.rows("silver", found.frame)
        if REPAIRS in rows.columns:
            rows = rows.with_columns(guard.noted(rows[REPAIRS]))
        return found._replace(frame=rows)

    return treated


def told_to_topics(stream: Stream, rule: Rule) -> str | None:
    """Say which field a rule reads that a topic treats otherwise than silver; None if none.

    What a rule has read is in the texts that it makes, of which a topic can take nothing out.
    """
    privacy = stream.privacy
    for name in sorted(rule.reads & {*privacy.of("alerts"), *privacy.of("decisions")}):
        return (
            f"rule {rule.id} reads {name}, and a topic is not to have that as silver has it: what "
            f"a rule reads is told in its reasons. Have the contract treat {name} in silver"
        )
    return None


def telling(
    settings: PrivacySettings, tables: Iterable[Table], of: Mapping[str, Iterable[Stream]]
) -> list[Table]:
    """Return tables with what their rows have of personal data among what these are made by.

    `of` are by the tables' names the streams whose fields they have.
    """
    found = []
    for table in tables:
        told = {
            f"{_PII}{stream.record}.{name}": text
            for stream in of.get(table.name, ())
            for name, text in guard_of(settings, stream).definitions.items()
        }
        found.append(replace(table, definitions={**table.definitions, **told}))
    return found


def refuse_mixed(root: str, tables: Iterable[Table]) -> None:
    """Raise MixedTreatmentError for a table with rows of another treatment than its next ones.

    One person would be two, in windows as in features.
    """
    for table, handle in tables_there(root, tables):
        with reaching(handle.table_uri):
            if not handle.file_uris():
                continue
            told = history(handle) or {}
        then = {n: each[-1].text for n, each in told.items() if n.startswith(_PII)}
        now = {n: text for n, text in table.definitions.items() if n.startswith(_PII)}
        for name in sorted(then.keys() | now.keys()):
            if then.get(name) != now.get(name):
                was, is_ = (_said(each.get(name)) for each in (then, now))
                raise MixedTreatmentError(
                    f"{table.name} has {name.removeprefix(_PII)} {was}, and is to have it {is_}: "
                    "one person would be two. Take the contract and the keys of before back, or "
                    "start with another MILLSTREAM_DELTA_ROOT and an empty recovery directory, "
                    "which reads the topic from its start"
                )


def _said(text: str | None) -> str:
    return "as it came" if text is None else f"as {text}"
