"""What a check says of rows that are missing, too many, or deleted from their topic."""

import polars as pl

from ops.verify.report import Check, only_once


def once(expected: list[int], actual: list[int], **more: int) -> Check:
    return only_once("x", *(pl.DataFrame({"id": ids}) for ids in (expected, actual)), **more)


def test_as_many_as_the_topic_has_deleted_may_be_missing_and_are_counted() -> None:
    check = once([1, 2, 3, 4], [3, 4], may_lack=2)
    assert (check.ok, check.compared, check.deleted) == (True, 2, 2)


def test_of_more_than_it_has_deleted_all_that_are_missing_are_named() -> None:
    check = once([1, 2, 3, 4], [4], may_lack=2)
    assert (check.ok, check.compared, check.deleted) == (False, 4, 0)
    assert [row["problem"] for row in check.examples] == ["missing"] * 3


def test_what_is_there_twice_or_unexpected_is_named_whatever_was_deleted() -> None:
    check = once([1, 2, 3], [2, 2, 7], may_lack=9)
    assert sorted(row["problem"] for row in check.examples) == ["there 2 times", "unexpected"]
    assert check.deleted == 2


def test_rows_left_out_of_both_are_counted_too() -> None:
    check = once([3], [3], deleted=2)
    assert (check.ok, check.compared, check.deleted) == (True, 1, 2)
