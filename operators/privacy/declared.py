"""What is declared of personal data: fields with their tags, and what each sink does to them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

Treatment = Literal["token", "mask", "encrypt"]
"""A value becomes a token of it (one way), its last four characters, or what a key can read."""
Treats = Literal["silver", "alerts", "decisions"]
"""The sinks that have fields: silver with all that is made of it, and the two topics."""
Sealable = Literal["bronze", "quarantine", "dead_letters"]
"""The sinks that have records as they came."""

TREATS: Final = get_args(Treats)
SEALABLE: Final = get_args(Sealable)
PII: Final = "pii"
"""The property of a schema's field that has its tag."""

_By = Mapping[str, Treatment]
_Seal = Literal["keep", "encrypt"]


class Declared(BaseModel):
    """The section ``privacy`` of a contract: by sink what is done to the fields of each tag.

    What silver has, its windows, alerts and decisions are made of; the topics may do more to it.
    Sinks of whole records keep them as they came, or encrypt key, value and headers.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    silver: dict[str, Treatment] = {}
    alerts: dict[str, Treatment] = {}
    decisions: dict[str, Treatment] = {}
    bronze: _Seal = "keep"
    quarantine: _Seal = "keep"
    dead_letters: _Seal = "keep"

    def problems(
        self, tags: Mapping[str, str], kinds: Mapping[str, tuple[str, bool]]
    ) -> list[str]:
        """Return what is wrong with it; `kinds` are the fields' types, and if they may be null."""
        found = []
        for sink in TREATS:
            for tag, treatment in getattr(self, sink).items():
                fields = [name for name, each in tags.items() if each == tag]
                if not fields:
                    found.append(f"privacy.{sink}: no field is tagged {tag}")
                for name in fields:
                    kind, nullable = kinds[name]
                    if kind != "string" and not (treatment == "mask" and nullable):
                        found.append(
                            f"privacy.{sink}: {treatment} is for texts, and {name} is of type "
                            f"{kind}" + ("" if nullable else " and never null")
                        )
        return found


@dataclass(frozen=True)
class Privacy:
    """The tags of a record's fields, and by sink what is done to which fields."""

    tags: Mapping[str, str] = field(default_factory=dict)
    declared: Declared = field(default_factory=Declared)

    def of(self, sink: Treats) -> dict[str, Treatment]:
        """Return what a sink does to which fields, beyond what silver has done."""
        by: _By = getattr(self.declared, sink)
        return {name: by[tag] for name, tag in self.tags.items() if tag in by}

    def seals(self, sink: Sealable) -> bool:
        """Tell whether a sink encrypts its records."""
        return bool(getattr(self.declared, sink) == "encrypt")

    @property
    def needs_key(self) -> bool:
        """Tell whether any of it takes a key."""
        made = {each for sink in TREATS for each in self.of(sink).values()}
        return bool(made - {"mask"}) or any(map(self.seals, SEALABLE))


def read_tags(
    schema: Mapping[str, Any], stated: Mapping[str, str]
) -> tuple[dict[str, str], list[str]]:
    """Return the tags of a schema's fields, and what is wrong with them.

    Those of a field's own property `pii`, and those that a contract has `stated`: of schemas that
    were published before anybody tagged them. A tag inside a field that has none would count for
    nothing, so it is wrong.
    """
    names = [each["name"] for each in schema["fields"]]
    found = {each["name"]: each[PII] for each in schema["fields"] if PII in each}
    problems = [f"{PII}: the schema has no {name}" for name in stated if name not in names]
    problems += [
        f"{PII}: {name} is tagged {found[name]} by the schema"
        for name, tag in stated.items()
        if found.get(name, tag) != tag
    ]
    problems += [
        f"{PII}: the tag of {name} is no text"
        for name, tag in found.items()
        if not isinstance(tag, str)
    ]
    merged = {**stated, **found}
    problems += [
        f"{PII}: {each['name']} is hidden as a whole or not at all: tag it, and not what is inside"
        for each in schema["fields"]
        if each["name"] not in merged and any(_inside(each.get("type")))
    ]
    return {name: merged[name] for name in names if name in merged}, problems


def _inside(avro: Any) -> Iterator[str]:
    """Yield the tags of fields inside a type."""
    if isinstance(avro, list):
        for each in avro:
            yield from _inside(each)
    if isinstance(avro, Mapping):
        for name in ("type", "items", "values"):
            yield from _inside(avro.get(name))
        for each in avro.get("fields") or ():
            if PII in each:
                yield str(each[PII])
            yield from _inside(each.get("type"))
