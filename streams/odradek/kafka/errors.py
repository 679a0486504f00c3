"""Kafka's errors as ours: what is wrong, where, and which setting mends it. What is not known
here stays a KafkaException.
"""

from __future__ import annotations

from confluent_kafka import KafkaError, KafkaException

from odradek.exceptions import (
    BrokerUnreachableError,
    ClockError,
    ConfigurationError,
    OdradekError,
    TopicError,
    TopicMissingError,
)
from odradek.kafka.settings import KafkaSettings

ADDRESS_SETTING = "address` or `ODRADEK_ADDRESS"  # stands between backquotes in the message

#: Nobody answers, or not in time.
UNREACHABLE = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError._TIMED_OUT_QUEUE,
    }
)
#: The broker does not know who we are.
UNAUTHENTICATED = frozenset(
    {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED, KafkaError._SSL}
)
#: It knows, and says no.
FORBIDDEN = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED: "topic",
    KafkaError.GROUP_AUTHORIZATION_FAILED: "group",
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "transactional id",
    KafkaError.CLUSTER_AUTHORIZATION_FAILED: "cluster",
}
#: The topic or partition is not there.
MISSING = frozenset(
    {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
)
#: A plain producer's records are refused for their time. Of several in one batch that are all
#: refused, the reports say `INVALID_RECORD` and no more; ours have nothing else that a broker could
#: check (keys, where a topic is compacted).
WRONG_TIME = frozenset({KafkaError.INVALID_TIMESTAMP, KafkaError.INVALID_RECORD})


def kafka_error(error: KafkaException | KafkaError) -> KafkaError:
    """The KafkaError inside whatever confluent-kafka raised or handed to a callback."""
    inner = error.args[0] if isinstance(error, KafkaException) and error.args else error
    return inner if isinstance(inner, KafkaError) else KafkaError(KafkaError._FAIL, str(error))


def translate(
    error: KafkaException | KafkaError, settings: KafkaSettings, *, topic: str = "", what: str = ""
) -> OdradekError | KafkaException:
    """The error to raise instead: `raise translate(error, settings, topic=…) from error`.

    topic: the topic it was about, if it was.  what: what was tried, for messages ("create topics").
    """
    inner = kafka_error(error)
    code = inner.code()
    if code in UNREACHABLE:
        return unreachable(settings, inner.str())
    if code in UNAUTHENTICATED:
        return unreachable(settings, f"authentication failed: {inner.str()}")
    if code in FORBIDDEN:
        return forbidden(inner, topic=topic, what=what)
    if code in WRONG_TIME:
        return ClockError(topic, reason=inner.str())
    if code in MISSING and topic:
        return TopicMissingError(topic, reason=inner.str())
    return error if isinstance(error, KafkaException) else KafkaException(error)


def unreachable(settings: KafkaSettings, reason: str) -> BrokerUnreachableError:
    """No broker answers at the settings' address."""
    return BrokerUnreachableError(settings.address, setting=ADDRESS_SETTING, reason=reason)


#: What was tried -> the right that it takes.
_RIGHTS = {
    "describe its settings": "DescribeConfigs",
    "create": "Create",
    "delete records": "Delete",
    "delete": "Delete",
    "write": "Write",
}


def forbidden(error: KafkaError, *, topic: str, what: str) -> OdradekError:
    """An ACL is missing."""
    if topic:
        return missing_acl(_RIGHTS.get(what, "Describe"), "topic", topic, reason=error.str())
    tried = f" ({what})" if what else ""
    kind = FORBIDDEN[error.code()]
    return OdradekError(
        f"Kafka refuses access to this {kind}{tried}: {error.str()}. Give this principal the rights"
        " listed in docs/operate.md"
    )


def missing_acl(right: str, resource: str, name: str, *, reason: str = "") -> OdradekError:
    """One line with resource and ACL. resource: `topic`, `group` or `transactional id`."""
    why = f" ({reason.rstrip('.')})" if reason else ""
    text = (
        f"Kafka refuses access to {resource} {name}{why}: grant this principal the ACL {right} on"
        f" {resource} {name} (docs/operate.md)"
    )
    return TopicError(text, topic=name) if resource == "topic" else OdradekError(text)


def timeout_refused(setting: str, limits: str, *, reason: str) -> ConfigurationError:
    """A timeout of ours that the brokers do not take. limits: theirs."""
    return ConfigurationError(
        f"the brokers refuse the setting `{setting}` ({reason.rstrip('.')}): they take {limits}."
        " Change it, or theirs",
        key=setting,
    )


SESSION_LIMITS = (
    "`group.min.session.timeout.ms` (6 s where it is not set) to `group.max.session.timeout.ms` (30"
    " min)"
)
TRANSACTION_LIMITS = "up to `transaction.max.timeout.ms` (15 min where it is not set)"
