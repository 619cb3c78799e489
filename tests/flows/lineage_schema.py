"""Events held to the schemas that the OpenLineage project publishes, kept in openlineage/."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs

_KEPT = [
    json.loads(file.read_text("utf-8"))
    for file in (Path(__file__).parent / "openlineage").glob("*.json")
]
_REGISTRY = jsonschema_rs.Registry([(each["$id"], each) for each in _KEPT])
_EVENT = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"


def _not_kept(url: str) -> Any:
    raise LookupError(f"{url} is not kept in openlineage/")


def _problems(reference: str, value: Any) -> list[str]:
    """Return what is wrong with a value by a schema; an unknown one raises."""
    found = jsonschema_rs.validator_for(
        {"$ref": reference}, registry=_REGISTRY, retriever=_not_kept
    )
    return [f"{reference}: {each.message}" for each in found.iter_errors(value)]


def _facets(event: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    holders = [event["run"], event["job"], *event["inputs"], *event["outputs"]]
    for holder in holders:
        for kind in ("facets", "inputFacets", "outputFacets"):
            yield from holder.get(kind, {}).items()


def problems(event: dict[str, Any]) -> list[str]:
    """Return what is wrong with an event and, by the schemas that they name, with its facets."""
    found = _problems(_EVENT, event)
    for name, facet in _facets(event):
        # What a facet's schema describes has it by its name.
        url, _, _ = facet["_schemaURL"].partition("#")
        found += _problems(url, {name: facet})
    return found
