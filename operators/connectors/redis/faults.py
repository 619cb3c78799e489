"""What Redis says when it cannot help, and what to do about it."""

import re
from dataclasses import dataclass
from typing import Final

from redis.exceptions import AuthenticationError, RedisError

ACL: Final = "+eval +info +get +set +pexpire +hget +hmget +hset ~millstream:*"
"""All that a user of Redis needs."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, without secrets or data, what to do, and whether to wait may mend it."""

    what: str
    to_do: str
    passes: bool

    def __str__(self) -> str:
        return f"{self.what}: {self.to_do}" if self.to_do else self.what


# By what Redis, Valkey or the client says, in the script or outside of it; whether it passes by
# itself or by what people do to the server; and what that is.
_KNOWN: Final = (
    (r"\bOOM\b|maxmemory'", True, "it is full; raise its maxmemory"),
    (
        r"\bREADONLY\b|read.only replica|\bMASTERDOWN\b|Link with MASTER is down",
        True,
        "it is a replica; let MILLSTREAM_REDIS_URL name the primary, or make it one "
        "(REPLICAOF NO ONE)",
    ),
    (r"\bLOADING\b|is loading the dataset", True, "it reads its data, wait until it has"),
    (r"\bBUSY\b", True, "somebody's script keeps it busy; SCRIPT KILL ends that"),
    (
        r"\bNOREPLICAS\b",
        True,
        "too few of its replicas are there; start them, or lower its min-replicas-to-write",
    ),
    (r"\bMISCONF\b", True, "it cannot save its data; see its log, its disk may be full"),
    (r"max number of clients", True, "end other clients, or raise its maxclients"),
    (
        r"\bCLUSTERDOWN\b|Hash slot not served|\bTRYAGAIN\b",
        True,
        "it is a node of a Redis Cluster that is down; see CLUSTER INFO",
    ),
    (
        r"\bMOVED\b|\bASK\b|\bCROSSSLOT\b",
        False,
        "it is a node of a Redis Cluster, and the ids belong to another one, to which the flow "
        "does not follow; let MILLSTREAM_REDIS_URL name a server that is no cluster",
    ),
    (
        r"\bNOPERM\b|ACL failure in script|user executing the script can't run",
        False,
        f"let the user of MILLSTREAM_REDIS_URL have {ACL}, and +select for a database but 0",
    ),
    (
        r"\bNOAUTH\b|\bWRONGPASS\b|without any password|invalid password",
        False,
        "look at the user and the password in MILLSTREAM_REDIS_URL, which is read at the start",
    ),
    (r"\bWRONGTYPE\b", False, "a key of its name is another program's; delete it, or name "
     "another database in MILLSTREAM_REDIS_URL"),
    (r"DB index|invalid DB", False, "it has no such database; correct the number at the end of "
     "MILLSTREAM_REDIS_URL"),
    (r"unknown command", False, "it is no Redis or Valkey that runs scripts; a Sentinel's "
     "port, perhaps, where MILLSTREAM_REDIS_URL should name the primary's"),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        False,
        "let ?ssl_ca_certs= in MILLSTREAM_REDIS_URL name the file of the CA, and the host be one "
        "that the certificate is for",
    ),
    (
        r"WRONG_VERSION_NUMBER|wrong version number|RECORD_LAYER_FAILURE|record layer failure",
        False,
        "it does not speak TLS; redis:// instead of rediss://",
    ),
)  # fmt: skip


def fault(error: RedisError) -> Fault:
    """Return what an error of the client means; what is not known may pass."""
    code = f"{error.status_code} " if getattr(error, "status_code", None) else ""
    if isinstance(error, AuthenticationError) and not code:
        code = "NOAUTH "
    # Some have said in which script it was, and where: that is nothing to act on.
    said = re.split(r"\.? script: [0-9a-f, ]*on @|\n", f"{code}{error}")[0].strip(" .")
    said = re.sub(r"^.*@user_script:\s?\d+: (@user_script: \d+: )?-?", "", said)
    for pattern, passes, to_do in _KNOWN:
        if re.search(pattern, said):
            return Fault(said, to_do, passes)
    return Fault(said or type(error).__name__, "", passes=True)
