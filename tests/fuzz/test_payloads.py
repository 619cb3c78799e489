"""A part of the payloads that ``make fuzz`` judges by the million."""

import numpy as np
import pytest

from tests.fuzz.json_subjects import JSON_SUBJECTS
from tests.fuzz.mutations import MUTATIONS, mutated
from tests.fuzz.payloads import judge
from tests.fuzz.subjects import SUBJECTS


@pytest.mark.parametrize("name", SUBJECTS)
def test_every_payload_has_one_verdict_and_one_place(name: str) -> None:
    found = judge(name, seed=2026, payloads=2_000, rows=500)
    assert found["silver"] + found["quarantine"] >= found["mutated"]
    assert {"good", "malformed", "bad_utf8", "bad_magic", "unknown_schema"} <= found.keys()


@pytest.mark.parametrize("name", JSON_SUBJECTS)
def test_so_has_every_payload_in_json(name: str) -> None:
    found = judge(name, seed=2026, payloads=2_000, rows=500)
    assert found["silver"] + found["quarantine"] >= found["mutated"]
    assert {"good", "malformed", "bad_utf8", "schema_required"} <= found.keys()
    own = {"JSON by a field": "other_schema", "JSON by a header": "no_version"}
    assert own.get(name, "good") in found


@pytest.mark.parametrize("kind", MUTATIONS)
def test_each_mutation_makes_another_payload_the_same_for_a_seed(kind: str) -> None:
    good = SUBJECTS["orders"].good(50)
    made = [MUTATIONS[kind](value, good[7], 11, 2_000_000_007, 5) for value in good[1:]]
    assert sum(one != other for one, other in zip(made, good[1:], strict=True)) > 40
    twice = [mutated(good, 20, np.random.default_rng(3)) for _ in range(2)]
    assert twice[0] == twice[1]
