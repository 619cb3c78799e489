"""Hiding: which fields of an enforced topic are tagged as personal data, and what becomes of them.

A tag is the property `pii` of a field in the schema, or a line in contract.yaml.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from flows.enforced.stated import CONTRACT, Stated
from operators import json_schema
from operators.contracts import field_kinds
from operators.privacy import Privacy, read_tags

_NO_SINKS: Final = {
    "alerts": "no rules",
    "decisions": "no rules",
    "bronze": "no table of all that came",
}


def privacy_of(
    stated: Stated,
    versions: Mapping[int, Any],
    kind: str,
    kinds: Mapping[str, tuple[str, bool]],
    columns: Collection[str],
) -> tuple[Privacy, list[str]]:
    """Return what is declared, of tags in any version of the schema, and what is wrong with it.

    `kind` is the ending of the schemas' files, `kinds` are the fields' types by name, and `columns`
    the fields that silver has.
    """
    if kind == "avsc":
        fields = {each["name"]: each for some in versions.values() for each in some["fields"]}
        whole = {"fields": list(fields.values())}
        kinds = {**field_kinds(whole), **kinds}
    else:
        tagged = [json_schema.tags_of(each) for each in versions.values()]
        whole = {"fields": [each for some in tagged for each in some]}
    tags, problems = read_tags(whole, stated.pii)
    tags = {name: tag for name, tag in tags.items() if name in columns}
    found = Privacy(tags, stated.privacy)
    problems += [
        f"privacy.{sink}: an enforced topic has {why}"
        for sink, why in _NO_SINKS.items()
        if sink in stated.privacy.model_fields_set
    ]
    problems = problems or stated.privacy.problems(tags, kinds)
    if not problems and stated.id is not None and found.of("silver").get(stated.id) == "mask":
        problems.append(
            f"privacy.silver masks {stated.id}, by which records are told apart: make it a token"
        )
    return found, [f"{CONTRACT}: {each}" for each in problems]
