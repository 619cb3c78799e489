"""Which topic it is: the cluster's id and the topic's own, which a name may outlive.

A topic that is deleted and made anew under its old name is another one, whose offsets mean other
records. Kafka gives each an id of its own (KIP-516), and each cluster one.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from operators.connectors.kafka.brokers import LOG, Config, brokers_of, try_seconds
from operators.connectors.topic_identity import HOW_TO_GO_ON, TopicChangedError

_LOOK_SECONDS: Final = 2.0


def identify(config: Config, topics: Iterable[str], timeout: float) -> dict[str, str]:
    """Return ``<cluster id>/<topic id>`` of each topic, with nothing behind "/" where it has none.

    Raises KafkaUnavailableError if the brokers do not say so within `timeout` seconds, or a
    topic is not there then.
    """
    brokers, names = brokers_of(config), list(topics)
    with brokers.admin() as admin:
        # A topic that was made a moment ago is not known to every broker at once.
        found = brokers.wait(admin, lambda: _ask(admin, names, try_seconds(timeout)), timeout)
    for topic, identity in found.items():
        if identity.endswith("/"):
            LOG.warning(
                "the brokers give topic %s no id, as Kafka does since 2.8: should it be made anew "
                "under its name, that is noticed only if it is shorter than what was read", topic
            )  # fmt: skip
    return found


def _ask(admin: AdminClient, topics: list[str], timeout: float) -> dict[str, str]:
    # No metadata of topics, by which brokers may be set up to make those that are gone.
    cluster = admin.describe_cluster(request_timeout=timeout)
    asked = admin.describe_topics(TopicCollection(topics), request_timeout=timeout)
    ids = {topic: future.result().topic_id for topic, future in asked.items()}
    return {
        topic: f"{cluster.result().cluster_id}/{_text(each)}" for topic, each in ids.items()
    }


def _text(topic_id: object) -> str:
    text = str(topic_id)
    return "" if set(text) <= {"A", "="} else text


class Unchanged:
    """Looks, before what was read is committed, whether the topics are still the same ones.

    Ids are never given twice, so what was read before the look is of the topics meant. Brokers
    that do not answer are asked again at the next commit, and a topic that is gone, and not made
    anew, does not take away what was read of it.
    """

    def __init__(self, config: Config, topics: Mapping[str, str]) -> None:
        """`topics` are the identities that the flow began with."""
        self._brokers, self._topics = brokers_of(config), dict(topics)
        self._admin: AdminClient | None = None

    def __call__(self) -> None:
        """Raise TopicChangedError if a topic was made anew."""
        if self._admin is None:
            self._admin = self._brokers.admin()
        self._admin.poll(0)
        if self._brokers.outage.seconds:
            return
        for topic, known in self._topics.items():
            try:
                (now,) = _ask(self._admin, [topic], _LOOK_SECONDS).values()
            except KafkaException as error:
                # The outage is told by itself.
                LOG.debug("not known whether %s was made anew: %s", topic, error.args[0].str())
                continue
            if now != known:
                raise TopicChangedError(
                    f"topic {topic} was made anew while the flow ran: what was read since the "
                    "last commit may be of both and was not written. " + HOW_TO_GO_ON
                )
