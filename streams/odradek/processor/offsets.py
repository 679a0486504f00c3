"""The thread that asks the cluster for ends on behalf of due timers.

An end is always the *uncommitted* one: a plain record behind an open transaction is there,
although no read_committed reader sees it yet. An answer is never cached: it stands for the
moment of its question.

One request serves all partitions that ask at a time. librdkafka answers none of them before it
has a leader for each: a partition whose request failed is asked for by itself until it is
answered, and a broker that is away holds the timers of its own partitions alone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from odradek.kafka.admin import ClusterAdmin

logger = logging.getLogger(__name__)

TOGETHER_SECONDS = (
    2.0  # for all partitions in one request: so long may one without a leader hold the others, once
)
APART_SECONDS = 10.0  # for one by itself: it holds nobody
_AGAIN_SECONDS = 1.0  # between two questions for a partition that fails
_GRACE_SECONDS = 1.0  # librdkafka answers a request by its timeout; the grace is for a busy machine

Answer = Callable[[int], None]


@dataclass(slots=True, eq=False)
class _Question:
    """One request, and who waits for what it says."""

    answers: dict[int, Answer]
    timeout_s: float
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def given_up_at(self) -> float:
        return self.asked_at + self.timeout_s + _GRACE_SECONDS


class EndOffsets(threading.Thread):
    """Asks for uncommitted ends off the lanes' threads."""

    def __init__(self, admin: ClusterAdmin, topic: str) -> None:
        super().__init__(name="odradek-ends", daemon=True)
        self._admin = admin
        self._topic = topic
        self._condition = threading.Condition()
        self._waiting: dict[int, Answer] = {}
        self._open: list[_Question] = []  # on the way
        self._together: _Question | None = None  # the one of them that is for all
        self._failures: dict[
            int, int
        ] = {}  # in a row, of partitions that are asked for by themselves
        self._unanswered: list[tuple[float, Answer]] = []  # told -1 at that time
        self._refresher: threading.Thread | None = None
        self._stopped = False
        self.requests = 0

    def ask(self, partition: int, answer: Answer) -> None:
        """Have `answer(end)` called, from any thread; -1 when the cluster does not tell. The
        request leaves after this call.
        """
        with self._condition:
            self._waiting[partition] = answer
            self._condition.notify()

    def stop(self) -> None:
        with self._condition:
            self._stopped = True
            self._condition.notify()

    def run(self) -> None:
        while True:
            with self._condition:
                while not self._stopped and not self._ready():
                    self._condition.wait(self._patience())
                if self._stopped:
                    return
                unanswered, given_up = self._take_due()
                questions = self._take_questions()
            for answer in unanswered:
                answer(-1)
            for question in given_up:
                self._fail(question, TimeoutError("no answer in time"))
            for question in questions:
                self._send(question)

    # --- what to do next; under the condition

    def _ready(self) -> bool:
        sendable = (
            self._waiting
            if self._together is None
            else self._failures.keys() & self._waiting.keys()
        )
        return bool(sendable) or self._patience() == 0.0

    def _patience(self) -> float | None:
        """Seconds until something is due; None: nothing is."""
        times = [at for at, _ in self._unanswered] + [
            question.given_up_at for question in self._open
        ]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _take_due(self) -> tuple[list[Answer], list[_Question]]:
        """Who is told -1 now, and requests that librdkafka has left without an answer."""
        now = time.monotonic()
        due = [answer for at, answer in self._unanswered if at <= now]
        self._unanswered = [(at, answer) for at, answer in self._unanswered if at > now]
        return due, [question for question in self._open if question.given_up_at <= now]

    def _take_questions(self) -> list[_Question]:
        alone = self._failures.keys() & self._waiting.keys()
        questions = [
            _Question({partition: self._waiting.pop(partition)}, APART_SECONDS)
            for partition in alone
        ]
        if self._together is None and self._waiting:
            self._together = _Question(self._waiting, TOGETHER_SECONDS)
            self._waiting = {}
            questions.insert(0, self._together)
        self._open += questions
        return questions

    # --- one request

    def _send(self, question: _Question) -> None:
        self.requests += 1
        partitions = list(question.answers)
        try:
            self._admin.ask_ends(
                self._topic,
                partitions,
                lambda p, end: self._take(question, p, end),
                timeout_s=question.timeout_s,
            )
        except Exception as error:  # whatever it is, the lanes ask again; their timers wait
            self._fail(question, error)

    def _fail(self, question: _Question, error: Exception) -> None:
        for partition in list(question.answers):
            self._take(question, partition, error)

    def _take(self, question: _Question, partition: int, end: int | Exception) -> None:
        """An answer, on a thread of librdkafka or on this one."""
        with self._condition:
            answer = question.answers.pop(partition, None)
            if answer is None:
                return  # given up before
            if not question.answers:
                self._open.remove(question)
                self._together = None if question is self._together else self._together
            failures = 0 if isinstance(end, int) else self._failures.get(partition, 0) + 1
            if not failures:
                self._failures.pop(partition, None)
            else:
                self._failures[partition] = failures
                if failures == 1:  # perhaps for another one's sake: at once again, by itself
                    self._waiting.setdefault(partition, answer)
                else:
                    self._unanswered.append((question.asked_at + _AGAIN_SECONDS, answer))
            self._condition.notify()
        if isinstance(end, int):
            answer(end)
            return
        if failures == 2:
            logger.warning(
                "the end of %s/%d cannot be had, its due timers wait: %s",
                self._topic,
                partition,
                end,
            )
        self._refresh()

    def _refresh(self) -> None:
        """Leaders may have changed. It waits for a broker, so it is done beside the questions."""
        with self._condition:
            if self._refresher is not None and self._refresher.is_alive():
                return
            self._refresher = threading.Thread(
                target=self._admin.refresh,
                args=(self._topic,),
                name="odradek-ends-refresh",
                daemon=True,
            )
            self._refresher.start()
