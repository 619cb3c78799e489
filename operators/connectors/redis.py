"""Redis: a client, once the server answers."""

import logging
import time
from typing import Final

from redis import Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

LOG: Final = logging.getLogger("millstream.redis")


class RedisUnavailableError(RuntimeError):
    """Redis did not answer in time."""


def connect(url: str, timeout: float) -> Redis:
    """Return a client once Redis answers; raises RedisUnavailableError after `timeout` s."""
    retry = Retry(ExponentialBackoff(cap=5, base=0.1), retries=12)
    client: Redis = Redis.from_url(
        url,
        socket_timeout=10,
        socket_connect_timeout=5,
        retry=retry,
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
    )
    probe: Redis = Redis.from_url(url, socket_timeout=5, socket_connect_timeout=5)
    deadline, pause = time.monotonic() + timeout, 0.1
    while True:
        try:
            probe.ping()
            return client
        except RedisError as error:
            where = f"{client.connection_pool.connection_kwargs.get('host', 'socket')}"
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
