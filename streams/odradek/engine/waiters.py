"""Long polls: who waits for a run to close or for its history to grow. In memory only; a client
asks again after a restart.

A step that is not committed must leave no trace here: `begin` opens a log of what the engine's
next step changes, `revert` undoes it.
"""

from __future__ import annotations

from heapq import heappop, heappush

from odradek.wire.events import FetchHistory

# A poll without a deadline is answered DEADLINE_EXCEEDED after this, or a client that died would be
# kept for ever.
WAIT_DEFAULT_MS = 60_000

_Key = tuple[str, str, bool]


class Waiter:
    """One long poll. `fetch` is set when it waits for history, else it waits for the result."""

    __slots__ = ("client_id", "deadline_ms", "fetch", "request_id", "run_id", "workflow_id")

    def __init__(
        self,
        run_id: str,
        workflow_id: str,
        client_id: str,
        request_id: str,
        deadline_ms: int,
        fetch: FetchHistory | None = None,
    ) -> None:
        self.run_id = run_id
        self.workflow_id = workflow_id
        self.client_id = client_id
        self.request_id = request_id
        self.deadline_ms = deadline_ms
        self.fetch = fetch

    @property
    def key(self) -> _Key:
        """A poll asked again replaces the former; one for history does not replace one for the
        result.
        """
        return self.client_id, self.request_id, self.fetch is None


class Waiters:
    """All long polls of an engine, by run and by deadline."""

    def __init__(self) -> None:
        self._by_run: dict[str, dict[_Key, Waiter]] = {}
        self._deadlines: list[tuple[int, int, Waiter]] = []
        self._number = 0
        self._count = (
            0  # read by other threads, who must not walk over what the lane's thread changes
        )
        self._log: list[tuple[bool, Waiter]] = []

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return bool(self._by_run)

    def begin(self) -> None:
        """A new engine step: what was changed before stays."""
        self._log = []

    def of(self, run_id: str) -> list[Waiter]:
        """Who waits for a run."""
        waiters = self._by_run.get(run_id)
        return list(waiters.values()) if waiters else []

    def add(self, waiter: Waiter) -> None:
        """Register a poll."""
        self._log.append((True, waiter))
        self._put(waiter)

    def remove(self, waiter: Waiter) -> None:
        """A poll is answered."""
        self._log.append((False, waiter))
        self._drop(waiter)

    def revert(self, run_id: str) -> None:
        """Undo what the current step changed for a run."""
        for added, waiter in reversed(self._log):
            if waiter.run_id == run_id:
                (self._drop if added else self._put)(waiter)
        self._log = [entry for entry in self._log if entry[1].run_id != run_id]

    def clear(self) -> None:
        """Forget all."""
        self._by_run.clear()
        self._deadlines.clear()
        self._log.clear()
        self._count = 0

    def expired(self, now_ms: int) -> list[Waiter]:
        """Polls whose deadline has passed; forgotten here."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= now_ms:
            waiter = heappop(self._deadlines)[2]
            if self._by_run.get(waiter.run_id, {}).get(waiter.key) is waiter:
                self._drop(waiter)
                expired.append(waiter)
        return expired

    def _put(self, waiter: Waiter) -> None:
        waiters = self._by_run.setdefault(waiter.run_id, {})
        self._count += waiter.key not in waiters
        waiters[waiter.key] = waiter
        self._number += 1
        heappush(self._deadlines, (waiter.deadline_ms, self._number, waiter))

    def _drop(self, waiter: Waiter) -> None:
        waiters = self._by_run.get(waiter.run_id)
        if waiters is not None and waiters.get(waiter.key) is waiter:
            del waiters[waiter.key]
            self._count -= 1
            if not waiters:
                del self._by_run[waiter.run_id]
