"""What cannot be dealt with becomes failures and dead letters: undecodable commands, records
that are no commands, reports without a topic.

A record is acknowledged once everything that was written about it is durable. What routes in the
headers fails the activity, so that no run waits for a record that nobody could read.
"""

from __future__ import annotations

import logging
import time

from odradek.activities.acknowledgement import Cell
from odradek.activities.attempt import CommandRecord
from odradek.activities.outcome import failed_by_routing
from odradek.activities.reports import OnDurable, Reports
from odradek.log_limit import LogLimit
from odradek.telemetry import metrics
from odradek.wire import dead_letters
from odradek.wire.errors import UnknownSchemaError
from odradek.wire.headers import Headers, Routing, parse_headers
from odradek.wire.payload import Failure
from odradek.wire.topics import Topics

logger = logging.getLogger("odradek.activities")


class Refusals:
    """Writes what is to be said about records that cannot be dealt with."""

    def __init__(self, topics: Topics, namespace: str, task_queue: str, identity: str) -> None:
        self._commands = topics.commands(task_queue)
        self._topics = topics
        self._dead_letters = topics.dead_letters(task_queue)
        self._identity = identity
        self._queue = (namespace, task_queue)
        self._refused = metrics.COMMANDS_REFUSED.labels(*self._queue)
        self._log_limit = LogLimit()

    def command(
        self,
        reports: Reports,
        record: CommandRecord,
        cell: Cell,
        error: Exception,
        *,
        reason: str = "",
    ) -> None:
        """A record of `commands` that cannot be read. Its activity fails, not retryably: the
        same bytes would come again.
        """
        self._refused.inc()
        routing = parse_headers(record.headers())
        reason = reason or (
            dead_letters.UNKNOWN_SCHEMA
            if isinstance(error, UnknownSchemaError)
            else dead_letters.UNDECODABLE
        )
        more = self._log_limit.more(reason)
        if more is not None:
            logger.error(
                "dead letter: %s/%s/%d: %s: %s%s",
                self._commands,
                record.partition(),
                cell.offset,
                reason,
                error,
                more,
                extra=_ids(routing),
            )
        now_ms = int(time.time() * 1_000)
        routed = bool(
            routing.workflow_task_queue
            and routing.workflow_id
            and routing.run_id
            and routing.activity_id
        )
        left = 2 if routed else 1

        def one_is_durable() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                cell.acknowledged = True

        if routed:
            failure = Failure(
                message=f"the command of this activity cannot be read: {error}",
                type="DecodeError",
                non_retryable=True,
            )
            outcome = failed_by_routing(
                routing, failure, self._identity, now_ms, record.partition() or 0, cell.offset
            )
            reports.report(
                self._topics.events(routing.workflow_task_queue), outcome, one_is_durable
            )
        headers = dead_letters.dead_letter_headers(
            reason,
            topic=self._commands,
            partition=record.partition() or 0,
            offset=cell.offset,
            time_ms=now_ms,
            error=error,
            original=record.headers(),
        )
        reports.send(
            self._dead_letters,
            record.key(),
            record.value(),
            headers,
            self._counted(reason, one_is_durable),
        )

    def answer(
        self,
        reports: Reports,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Headers,
        why: str,
        on_durable: OnDurable | None,
    ) -> None:
        """An answer whose topic cannot be had: the workflow's queue is gone, or was never there."""
        self._refused.inc()
        logger.error(
            "%s; the answer goes to %s", why, self._dead_letters, extra=_ids(parse_headers(headers))
        )
        letter = dead_letters.dead_letter_headers(
            dead_letters.UNROUTABLE,
            topic=topic,
            time_ms=int(time.time() * 1_000),
            message=why,
            original=headers,
        )
        reports.send(
            self._dead_letters,
            key,
            value,
            letter,
            self._counted(dead_letters.UNROUTABLE, on_durable),
        )

    def _counted(self, reason: str, on_durable: OnDurable | None) -> OnDurable:
        def durable() -> None:
            metrics.DEAD_LETTERS.labels(*self._queue, "activities", reason).inc()
            if on_durable is not None:
                on_durable()

        return durable

    @property
    def topic(self) -> str:
        """Where dead letters go."""
        return self._dead_letters


def _ids(routing: Routing) -> dict[str, str]:
    """What a log line about an activity carries beside its text; "" is left out there."""
    return {
        "workflow_id": routing.workflow_id,
        "run_id": routing.run_id,
        "activity_id": routing.activity_id,
        "activity_type": routing.activity_type,
    }
