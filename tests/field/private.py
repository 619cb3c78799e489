"""A payments' contract that hides personal data, for flows and for commands of this process."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import schemas
from operators.connectors.kafka.client import read_to_end
from operators.contracts import load_contract, load_privacy
from tests.field.topic import Field

_ROOT = Path(__file__).parents[2]
_CONTRACT = schemas.contract("payment")


def declare(field: Field, text: str) -> None:
    """Have flows that are started from now on hide what a text behind their contract says."""
    package = field.folder / "release" / "schemas"
    shutil.copytree(_ROOT / "schemas", package, dirs_exist_ok=True)
    (package / "payment" / "contract.yaml").write_text(f"{_CONTRACT}{text}")
    field.settings["PYTHONPATH"] = f"{package.parent}:{_ROOT}"


@contextmanager
def declared(
    text: str, monkeypatch: pytest.MonkeyPatch, contract: str | None = _CONTRACT
) -> Iterator[None]:
    """Have this process know that contract, for a while."""
    others = schemas.contract
    caches = load_contract, load_privacy
    with monkeypatch.context() as patch:
        patch.setattr(
            schemas, "contract", lambda n: f"{contract}{text}" if n == "payment" else others(n)
        )
        for each in caches:
            each.cache_clear()
        yield
    for each in caches:
        each.cache_clear()


def told_by_tables(field: Field) -> dict[str, str]:
    """Return by table all that its rows hold, as a text; bytes as Python has them."""
    root = field.folder / "tables"
    names = [str(log.parent.relative_to(root)) for log in root.rglob("_delta_log")]
    with pl.Config(fmt_str_lengths=10_000):
        return {name: repr(field.table(name).to_dicts()) for name in names}


def told_by_topics(field: Field) -> dict[str, str]:
    """Return by topic all that its messages hold, as a text."""
    config = {"bootstrap.servers": field.bootstrap}
    found: dict[str, str] = {}
    for topic in ("dlq", "alerts", "decisions"):
        name = f"{field.topic}.{topic}"
        messages: list[Any] = list(read_to_end(config, name, {0: 0}))
        found[topic] = repr([(m.key(), m.value(), m.headers()) for m in messages])
    return found
