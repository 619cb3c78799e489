"""Redis: a client, once the server answers, and waiting for one that is away."""

import logging
from collections.abc import Callable
from typing import Any, Final, TypeVar

from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.connection import SSLConnection
from redis.exceptions import RedisError
from redis.retry import Retry

from operators.connectors.outage import PATIENCE, Outage, wait_for
from operators.connectors.pulse import PULSE
from operators.connectors.redis.faults import fault
from operators.errors import KnownError

LOG: Final = logging.getLogger("millstream.redis")

LIFE: Final = """
local function life()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  return run and run .. (history or '')
end
"""
"""Lua: which life of a server this is.

Its data may be other than what it answered only in another life of it: if it was started anew,
or was made a primary (again), with what another one had.
"""

# A flow that was told to end does so within 10 s, if with a call on its way.
_CALL_SECONDS: Final = 3.0

_Result = TypeVar("_Result")


class RedisUnavailableError(KnownError):
    """Redis did not answer in time, or cannot be worked with."""


def outage_of(client: Redis) -> Outage:
    """Return what speaks of a client's server when it is away."""
    to = client.connection_pool.connection_kwargs
    where = to.get("path") or f"{to.get('host')}:{to.get('port', 6379)}"
    tls = issubclass(client.connection_pool.connection_class, SSLConnection)
    other = "redis:// where it speaks no TLS" if tls else "rediss:// where it wants TLS"
    advice = f"check that it runs and MILLSTREAM_REDIS_URL ({other})"
    return Outage(f"Redis at {where}", LOG, RedisUnavailableError, advice, service="redis")


def waited(
    client: Redis, outage: Outage, call: Callable[[], _Result], patience: float = PATIENCE
) -> _Result:
    """Return what `call` returns; while Redis is away call it again, which must do no harm.

    Raises RedisUnavailableError after `patience` seconds, soon after the flow was told to end,
    and at once for what waiting cannot mend.
    """

    def attempt() -> _Result:
        try:
            return call()
        except RedisError as error:
            # Another server may have the name by now; one that was made a replica, for one,
            # keeps its connections.
            client.connection_pool.disconnect(inuse_connections=False)
            found = fault(error)
            if found.passes:
                raise
            raise RedisUnavailableError(f"{outage.what}: {found}") from error

    return wait_for(
        attempt,
        (RedisError,),
        outage,
        patience=patience,
        describe=lambda error: (
            str(fault(error)) if isinstance(error, RedisError) else str(error)
        ),
    )


def executed(calls: Pipeline) -> list[Any]:
    """Return a pipeline's answers; raises the first error, without what was asked."""
    with calls:
        answers: list[Any] = calls.execute(raise_on_error=False)
    PULSE.got_on()
    for answer in answers:
        if isinstance(answer, RedisError):
            raise answer
    return answers


def connect(url: str, timeout: float) -> Redis:
    """Return a client once Redis answers.

    Raises RedisUnavailableError after `timeout` seconds without an answer, and at once where
    the user may not do what the scripts do first, where the server does not say which life of
    it this is, or evicts keys.
    """
    client: Redis = Redis.from_url(
        url,
        socket_timeout=_CALL_SECONDS,
        socket_connect_timeout=_CALL_SECONDS,
        # Who waits looks whether the flow was told to end; the client does not.
        retry=Retry(NoBackoff(), 0),
    )
    outage = outage_of(client)
    waited(client, outage, lambda: _look(client, outage.what), timeout)
    return client


def _look(client: Redis, where: str) -> None:
    """Refuse a server whose losses nobody would notice."""
    if client.eval(f"{LIFE}return life()", 0) is None:
        raise RedisUnavailableError(
            f"{where}: INFO names no run_id, without which a server that came back with older "
            "data cannot be told from one that lost none"
        )
    memory = client.info("memory")
    policy = memory.get("maxmemory_policy", "noeviction")
    if memory.get("maxmemory") and policy != "noeviction":
        raise RedisUnavailableError(
            f"{where}: its maxmemory-policy is {policy}: it would forget ids that are needed. "
            "Set maxmemory-policy noeviction, there or on a server for the flow alone"
        )
