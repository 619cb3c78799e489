"""Redis: a client, once the server answers."""

import logging
import time
from typing import Final

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from operators.errors import KnownError

LOG: Final = logging.getLogger("millstream.redis")


ACL: Final = "+eval +info +get +set +pexpire +hget +hset +hsetnx ~millstream:*"
"""All that a user of Redis needs."""

_LIFE: Final = "return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')"


class RedisUnavailableError(KnownError):
    """Redis did not answer in time, or cannot be worked with."""


def _is_denied(error: RedisError) -> bool:
    # What a script may not do is a plain error, worded by Valkey and newer Redis, and by older.
    texts = ("ACL failure in script", "The user executing the script can't run")
    return isinstance(error, NoPermissionError) or any(text in str(error) for text in texts)


def connect(url: str, timeout: float) -> Redis:
    """Return a client once Redis answers.

    Raises RedisUnavailableError after `timeout` seconds without an answer, and at once where
    the user may not do what the scripts do first, or the server does not say which life of it
    this is.
    """
    retry = Retry(ExponentialBackoff(cap=5, base=0.1), retries=12)
    client: Redis = Redis.from_url(
        url,
        socket_timeout=10,
        socket_connect_timeout=5,
        retry=retry,
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    probe: Redis = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    where = f"{client.connection_pool.connection_kwargs.get('host', 'socket')}"
    deadline, pause = time.monotonic() + timeout, 0.1
    while True:
        try:
            if probe.eval(_LIFE, 0) is None:
                raise RedisUnavailableError(
                    f"Redis at {where}: INFO names no run_id, without which a server that came "
                    "back with older data cannot be told from one that lost none"
                )
            return client
        except RedisError as error:
            if _is_denied(error):
                raise RedisUnavailableError(
                    f"Redis at {where}: {error}. Let the user of MILLSTREAM_REDIS_URL have: {ACL}"
                ) from error
            if time.monotonic() + pause > deadline:
                raise RedisUnavailableError(
                    f"Redis at {where}: {error} (tried for {timeout:.0f} s); check that it runs "
                    "and MILLSTREAM_REDIS_URL"
                ) from error
            LOG.warning("waiting for Redis at %s: %s", where, error)
            time.sleep(pause)
            pause = min(pause * 2, 5.0)
        finally:
            probe.close()
