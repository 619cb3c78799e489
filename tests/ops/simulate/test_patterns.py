import re

import numpy as np
import pytest

from ops.simulate.patterns import matching


@pytest.mark.parametrize(
    "pattern",
    [
        "[A-Z]{3}", "[0-9]{4}", r"\d+", r"[a-f\d_]{2,}", "x?y*z{0,2}", "[^a-z]{2}", r"a\.b\[",
        ".{5}", "[A-Z]{2}|[0-9]{3}|none", "[]x]{3}", r"[\w-]{4}", r"[\]x\\]{3}", "a b",
    ],
)  # fmt: skip
def test_texts_match_and_are_different(pattern):
    texts = matching(pattern, 30, np.random.default_rng(0))
    assert texts
    assert len(texts) == len(set(texts))
    assert [text for text in texts if not re.fullmatch(pattern, text)] == []


def test_every_way_comes_and_as_many_as_are_asked_for():
    texts = matching("[A-Z]{2}|[0-9]{3}", 30, np.random.default_rng(0))
    assert len(texts) == 30
    assert {len(text) for text in texts} == {2, 3}


@pytest.mark.parametrize(
    "pattern", ["(ab)+", "^a$", "a(?=b)", "[a|b]", r"\p{L}", r"[\p{L}]", "é", "a{2"]
)
def test_what_has_more_is_refused(pattern):
    with pytest.raises(ValueError, match="no text can be made that matches"):
        matching(pattern, 3, np.random.default_rng(0))
