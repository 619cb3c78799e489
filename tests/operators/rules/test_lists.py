import polars as pl
import pytest

from operators.columns.expressions import one_row
from operators.rules.lists import looked_up, with_lists

ROWS = pl.DataFrame(
    {
        "listed": [
            "", "block:stolen:card_id", "watch:stolen:terminal_id",
            "allow!:vip:card_id block:stolen_too:card_id", "allow:x:card_id watch:stolen:card_id",
            None,
        ],
        "card_id": list("abcdef"),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("card_id IN LIST 'stolen'", [False, True, False, False, True, False]),
        ("CARD_ID in  list 'stolen'", [False, True, False, False, True, False]),
        ("terminal_id IN LIST 'stolen'", [False, False, True, False, False, False]),
        ("card_id NOT IN LIST 'vip'", [True, True, True, False, True, True]),
        ("card_id = 'b' OR card_id IN LIST 'vip'", [False, True, False, True, False, False]),
        ("card_id = ' IN LIST ''x''' OR card_id IN LIST 'vip'",
         [False, False, False, True, False, False]),
    ],
)  # fmt: skip
def test_a_value_is_on_a_list_whatever_its_kind(sql: str, expected: list[bool]) -> None:
    assert ROWS.select(one_row(with_lists(sql))).to_series().to_list() == expected


def test_columns_that_are_looked_up_are_told_and_texts_are_left_alone() -> None:
    sql = (
        "reason = 'card_id IN LIST ''a''' AND (Card_id IN LIST 'a' OR country NOT IN LIST 'b')"
    )
    assert looked_up(sql) == {"card_id", "country"}
    assert looked_up("card_id IN ('a', 'b')") == set()
    assert with_lists("card_id IN ('a', 'b')") == "card_id IN ('a', 'b')"


@pytest.mark.parametrize("name", ["", "Stolen", "a:b", "a b", "1", "a%"])
def test_what_is_no_name_of_a_list_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a list"):
        with_lists(f"card_id IN LIST '{name}'")
