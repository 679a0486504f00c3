"""Every name that Odradek has on a cluster: topics, group ids, transactional ids. The one place
that builds and takes them apart.

    {prefix}{namespace}.{task queue}.{kind}     events, state, commands, control, dead-letters
    {prefix}{namespace}.{kind}                  results, executions, schemas, members,
    replies

In namespace and task queue every character but ASCII letters, digits and `-` is written as `_`
and two hex digits for each of its UTF-8 bytes: `order_queue` -> `order_5fqueue`, `a.b` ->
`a_2eb`. It is reversible, so two queues never share a topic or a transactional id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache

from odradek.wire.errors import TopicNameError

MAX_NAME_LENGTH = 249  # Kafka's limit of a topic name
DEFAULT_PREFIX = "odradek."

EVENTS, STATE, COMMANDS, CONTROL, DEAD_LETTERS = (
    "events",
    "state",
    "commands",
    "control",
    "dead-letters",
)
RESULTS, EXECUTIONS, SCHEMAS, MEMBERS, REPLIES = (
    "results",
    "executions",
    "schemas",
    "members",
    "replies",
)
QUEUE_KINDS = (EVENTS, STATE, COMMANDS, CONTROL, DEAD_LETTERS)
NAMESPACE_KINDS = (RESULTS, EXECUTIONS, SCHEMAS, MEMBERS, REPLIES)

_PLAIN = re.compile(r"[A-Za-z0-9-]")
_ESCAPED = re.compile(r"(?:[A-Za-z0-9-]|_[0-9a-f]{2})+")
_LEGAL_PREFIX = re.compile(r"[A-Za-z0-9._-]*")


def escape(name: str) -> str:
    """A namespace or task queue as it stands in topic names."""
    try:
        return "".join(
            c if _PLAIN.match(c) else "".join(f"_{byte:02x}" for byte in c.encode()) for c in name
        )
    except UnicodeEncodeError as error:
        raise TopicNameError(f"{name!r} is not valid Unicode text") from error


def unescape(text: str) -> str:
    """The name that `escape` made `text` of. Raises TopicNameError for a text that it never makes."""
    if not _ESCAPED.fullmatch(text):
        raise TopicNameError(f"{text!r} is no escaped namespace or task queue")
    try:
        name = re.sub(
            rb"_([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode()
        ).decode()
    except UnicodeDecodeError as error:
        raise TopicNameError(f"{text!r} is no escaped namespace or task queue") from error
    if escape(name) != text:  # a letter written as hex: two texts for one name
        raise TopicNameError(f"{text!r} is no escaped namespace or task queue")
    return name


@dataclass(frozen=True, slots=True)
class TopicName:
    """A topic name taken apart. `task_queue` is "" for the topics of a namespace."""

    kind: str
    namespace: str
    task_queue: str = ""


@dataclass(frozen=True)
class Topics:
    """The names of one namespace. Raises TopicNameError for names that are empty or come out
    longer than 249 characters.
    """

    namespace: str
    prefix: str = DEFAULT_PREFIX

    def __post_init__(self) -> None:
        if not _LEGAL_PREFIX.fullmatch(self.prefix):
            raise TopicNameError(
                f"topic prefix {self.prefix!r}: Kafka allows ASCII letters, digits, '.', '_' and"
                " '-' in topic names only"
            )
        self._named(DEAD_LETTERS)  # the longest kind: fail here, not at the first use

    def events(self, task_queue: str) -> str:
        """Inputs of the workflows of a queue, key workflow id."""
        return self._queued(task_queue, EVENTS)

    def state(self, task_queue: str) -> str:
        """Changelog of the tables of a queue, key `{table}/{row key}`."""
        return self._queued(task_queue, STATE)

    def commands(self, task_queue: str) -> str:
        """Activity tasks for the services of a queue, key workflow id."""
        return self._queued(task_queue, COMMANDS)

    def control(self, task_queue: str) -> str:
        """Cancel requests for running activities of a queue, key activity id."""
        return self._queued(task_queue, CONTROL)

    def dead_letters(self, task_queue: str) -> str:
        """What could not be decoded, routed or applied, key as it came."""
        return self._queued(task_queue, DEAD_LETTERS)

    @cached_property
    def results(self) -> str:
        """One record a closed run, key workflow id."""
        return self._named(RESULTS)

    @cached_property
    def executions(self) -> str:
        """Latest summary of each run, key `{workflow id}/{run id}`."""
        return self._named(EXECUTIONS)

    @cached_property
    def schemas(self) -> str:
        """Avro schemas in use, key fingerprint (hex)."""
        return self._named(SCHEMAS)

    @cached_property
    def members(self) -> str:
        """What processors and services say of themselves, key member id."""
        return self._named(MEMBERS)

    @cached_property
    def replies(self) -> str:
        """Answers to clients, key client id."""
        return self._named(REPLIES)

    def activities_group(self, task_queue: str) -> str:
        """Group id of the activity services of a queue, in every language."""
        return self._queued(task_queue, "activities")

    def activities_share_group(self, task_queue: str) -> str:
        """Share group of the activity services of a queue, where they use one: a classic and a
        share group cannot have one name.
        """
        return self._queued(task_queue, "activities-share")

    def processor_group(self, task_queue: str) -> str:
        """Group id of the stream processors of a queue."""
        return self._queued(task_queue, "processor")

    @cached_property
    def readers_group(self) -> str:
        """Group id of consumers that are assigned by hand: librdkafka wants one, nobody joins it."""
        return self._named("readers")

    def transactional_id(self, task_queue: str, partition: int) -> str:
        """Transactional id of a partition of `events`: it belongs to the partition, not to a
        process.
        """
        return self._queued(task_queue, str(partition))

    def parse(self, topic: str) -> TopicName | None:
        """What a topic is; None for one that is not ours (another prefix or form). Topics of
        other namespaces are ours too.
        """
        if not topic.startswith(self.prefix):
            return None
        parts = topic[len(self.prefix) :].split(".")
        try:
            if len(parts) == 3 and parts[2] in QUEUE_KINDS:
                return TopicName(parts[2], unescape(parts[0]), unescape(parts[1]))
            if len(parts) == 2 and parts[1] in NAMESPACE_KINDS:
                return TopicName(parts[1], unescape(parts[0]))
        except TopicNameError:
            return None
        return None

    def _queued(self, task_queue: str, kind: str) -> str:
        return _name(self.prefix, self.namespace, task_queue, kind)

    def _named(self, kind: str) -> str:
        return _name(self.prefix, self.namespace, None, kind)


@lru_cache(maxsize=4_096)
def _name(prefix: str, namespace: str, task_queue: str | None, kind: str) -> str:
    if not namespace:
        raise TopicNameError("the namespace is empty")
    if task_queue == "":
        raise TopicNameError("the task queue is empty")
    parts = [namespace] if task_queue is None else [namespace, task_queue]
    name = prefix + ".".join([*map(escape, parts), kind])
    if len(name) > MAX_NAME_LENGTH:
        what = f"namespace {namespace!r}" + (
            f" with task queue {task_queue!r}" if task_queue else ""
        )
        raise TopicNameError(
            f"{what}: the topic name {name!r} has {len(name)} characters, Kafka allows"
            f" {MAX_NAME_LENGTH} (each character but letters, digits and '-' takes three or more)"
        )
    return name
