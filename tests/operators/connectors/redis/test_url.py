"""URLs of Redis: what the client can use passes; what it cannot is refused and not shown."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from operators.connectors.redis.url import check_redis_url


def kwargs(url: str) -> dict[str, object]:
    """Return what the client makes of a URL."""
    with Redis.from_url(url) as client:
        client.connection_pool.make_connection()
        return client.connection_pool.connection_kwargs


@pytest.mark.parametrize(
    "url",
    [
        "redis://host", "redis://host/", "redis://host:6379/0", "redis://10.0.0.1:1",
        "redis://[::1]:6379/3", "redis://user:word@host.example:65535/15", "redis://:word@host",
        "redis://user@host", "rediss://host?ssl_cert_reqs=none", "redis://host?db=3",
        "redis://host/0?client_name=flow", "unix:///run/redis.sock", "unix:///run/a@b.sock?db=2",
        "unix://user:word@/run/redis.sock", "redis://bücher.example", "redis://:a@b@host",
        "redis://:a:b@host", "redis://host/0\n",
    ],
)  # fmt: skip
def test_what_the_client_takes_passes(url):
    check_redis_url(url)
    assert kwargs(url)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://pass.word@host", "must start with"),
        ("", "must start with"),
        ("redis://:pass/word@host:6379/0", "an @ behind the host: .* / is written %2F"),
        ("redis://:pass?word@host:6379/0", "an @ behind the host"),
        ("redis://:pass#word@host:6379/0", "an @ behind the host"),
        ("redis://user:123/word@host:6379/0", "an @ behind the host"),
        ("redis://:pass%word@host", "begins no code such as %2F"),
        ("redis://:pass[word@host", "cannot be read"),
        ("unix://:pass/word@/run/redis.sock", "an @ behind the host"),
        ("redis://:password", "names no host"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://:password@:6379/0", "names no host"),
        ("redis://pass:word", "no number from 1 to 65535"),
        ("redis://host:/0", "no number from 1 to 65535"),
        ("redis://host:0", "no number from 1 to 65535"),
        ("redis://host:65536", "no number from 1 to 65535"),
        ("redis://host:6379:6380", "no number from 1 to 65535"),
        ("redis://host:٣", "no number from 1 to 65535"),
        ("redis://host:6379/cache", "number of a database"),
        ("redis://host:6379/0/1", "number of a database"),
        ("redis://host:6379/-1", "number of a database"),
        ("redis://host?db=cache", "number of a database"),
        ("redis://ho st", "no name"),
        ("redis://pass..word", "no name"),
        ("redis://host?socket_timeout=60", "the flow sets the others itself"),
        ("redis://host?decode_responses=True", "the flow sets the others itself"),
        ("redis://host?ssl_cert_reqs=none", "ssl_ ones go with rediss://"),
        ("rediss://host?ssl_cert_reqs=never", "other than none, optional or required"),
        ("rediss://host?ssl_ca_certs=/no/such.pem", "as ssl_ca_certs that is not there"),
        ("redis://host/0#pass", "has a #"),
        ("unix://", "names no socket"),
        ("unix://run/redis.sock", "names no socket"),
    ],
)
def test_what_it_does_not_take_is_refused_without_showing_it(url, says):
    with pytest.raises(ValueError, match=says) as refusal:
        check_redis_url(url)
    said = str(refusal.value).replace("urllib.parse.quote(password, safe='')", "")
    assert not any(part in said for part in ("pass/", "pass?", "pass#", "pass%", "pass[", "pass.",
                                             "no/such", "word@", ":pass", "6380"))  # fmt: skip


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12))
def test_a_password_that_is_encoded_as_the_message_says_is_taken(password):
    url = f"redis://:{quote(password, safe='')}@host:6379/0"
    check_redis_url(url)
    assert kwargs(url)["password"] == password


@given(
    st.text("a:/@?#%[]1.=&\\ \n-", max_size=16), st.sampled_from(["redis", "rediss", "unix"])
)
def test_whatever_passes_is_taken_by_the_client(text, scheme):
    url = f"{scheme}://{text}"
    try:
        check_redis_url(url)
    except ValueError:
        return
    made = kwargs(url)
    assert made.get("path") or made["host"]


@given(st.text("ab:/?#%[]&=.0", min_size=1, max_size=10))
def test_a_raw_password_is_taken_as_it_is_or_refused(password):
    """But for codes such as %41, which nobody can tell from a password of those letters."""
    url = f"redis://user:{password}@host:6379/0"
    try:
        check_redis_url(url)
    except ValueError:
        return
    made = kwargs(url)
    assert (made["host"], made["port"]) == ("host", 6379)
    if "%" not in password:
        assert made["password"] == password
