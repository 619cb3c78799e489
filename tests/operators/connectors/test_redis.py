import pytest

from operators.connectors import redis
from operators.connectors.redis import RedisUnavailableError


def test_a_redis_that_is_not_there_is_a_clear_error():
    with pytest.raises(RedisUnavailableError, match=r"127\.0\.0\.1.*MILLSTREAM_REDIS_URL"):
        redis.connect("redis://:secret@127.0.0.1:1/0", 0.3)


def test_an_error_names_no_password():
    with pytest.raises(RedisUnavailableError) as raised:
        redis.connect("redis://:secret@127.0.0.1:1/0", 0.1)
    assert "secret" not in str(raised.value)
