import pytest

from operators.records.rejects import Breaker, TooManyRejectsError


def test_a_breaker_lets_single_refusals_and_short_bursts_pass():
    breaker = Breaker(0.5, over=10)
    for _ in range(100):
        breaker.observe(1, 0)
        breaker.observe(1, 1)
    breaker = Breaker(0.5, over=10)
    breaker.observe(9, 9)
    breaker.observe(9, 0)


def test_a_breaker_stops_when_more_than_the_ratio_is_refused():
    breaker = Breaker(0.5, over=10)
    breaker.observe(10, 5)
    breaker.observe(4, 4)
    with pytest.raises(TooManyRejectsError, match=r"10 of the last 10 .*MAX_REJECT_RATIO"):
        breaker.observe(6, 6)


def test_good_records_of_long_ago_do_not_hide_a_bad_deploy():
    breaker = Breaker(0.5, over=10)
    breaker.observe(1_000_000, 0)
    with pytest.raises(TooManyRejectsError):
        breaker.observe(10, 10)


def test_a_ratio_of_one_never_stops():
    breaker = Breaker(1.0, over=1)
    for _ in range(5):
        breaker.observe(1_000, 1_000)


def test_empty_batches_count_for_nothing():
    breaker = Breaker(0.1, over=1)
    for _ in range(5):
        breaker.observe(0, 0)
