"""Which workflow run's code is executing, in a small file that outlives the process.

Workflow code can kill its process or keep the interpreter until somebody ends it. The file is
mapped into memory: what a process wrote there before it died, the next one with the same state
directory reads. It counts a crash in the run's row before it runs any code of the partition.

A member that comes back without its disk counts from one again.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from odradek.engine.activation import (
    Activation,
    Activator,
    Completion,
    FailWorkflow,
    WorkflowInstance,
)
from odradek.exceptions import StateStoreError
from odradek.wire.payload import Failure

RUN_ID_BYTES = 254  # a longer run id is not recorded
_ENTRY_BYTES = RUN_ID_BYTES + 2  # a byte that says whether somebody is inside, a length, the id


class CrashRecorder:
    """One entry a partition. Each entry is written by the thread of its partition alone.

    Raises StateStoreError for a file that cannot be made.
    """

    def __init__(self, path: Path, partitions: int) -> None:
        size = partitions * _ENTRY_BYTES
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                if os.fstat(descriptor).st_size != size:
                    os.ftruncate(descriptor, 0)
                    os.ftruncate(descriptor, size)
                self._entries = mmap.mmap(descriptor, size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise StateStoreError(str(path), str(error)) from error
        self._crashed = {
            partition: run_id
            for partition in range(partitions)
            if (run_id := self._read(partition)) is not None
        }

    def crashed(self, partition: int) -> list[str]:
        """Run ids whose code executed when the last process died, until `counted`."""
        run_id = self._crashed.get(partition)
        return [] if run_id is None else [run_id]

    def counted(self, partition: int) -> None:
        """The crash is durable in the run's row."""
        if self._crashed.pop(partition, None) is not None:
            self.leave(partition)

    def enter(self, partition: int, run_id: bytes) -> None:
        """Code of this run begins to execute."""
        at, length = partition * _ENTRY_BYTES, len(run_id)
        if length <= RUN_ID_BYTES:
            self._entries[at + 2 : at + 2 + length] = run_id
            self._entries[at + 1] = length
            self._entries[at] = 1  # last: an entry counts only once it is whole

    def leave(self, partition: int) -> None:
        """The code has returned."""
        self._entries[partition * _ENTRY_BYTES] = 0

    def close(self) -> None:
        """Let go of the file."""
        self._entries.close()

    def _read(self, partition: int) -> str | None:
        at = partition * _ENTRY_BYTES
        if not self._entries[at]:
            return None
        length = self._entries[at + 1]
        return self._entries[at + 2 : at + 2 + length].decode("utf-8", "replace")


class RecordingActivator:
    """An activator of one partition whose instances are recorded while their code executes."""

    def __init__(self, inner: Activator, recorder: CrashRecorder, partition: int) -> None:
        self._inner = inner
        self._recorder = recorder
        self._partition = partition

    def create(self, *, workflow_id: str, run_id: str, workflow_type: str) -> WorkflowInstance:
        """See `Activator.create`."""
        name = run_id.encode()
        self._recorder.enter(self._partition, name)
        try:
            inner = self._inner.create(
                workflow_id=workflow_id, run_id=run_id, workflow_type=workflow_type
            )
        finally:
            self._recorder.leave(self._partition)
        return _RecordedInstance(inner, self._recorder, self._partition, name)


class _RecordedInstance:
    __slots__ = ("_inner", "_partition", "_recorder", "_run_id")

    def __init__(
        self, inner: WorkflowInstance, recorder: CrashRecorder, partition: int, run_id: bytes
    ) -> None:
        self._inner = inner
        self._recorder = recorder
        self._partition = partition
        self._run_id = run_id

    def activate(self, activation: Activation) -> Completion:
        self._recorder.enter(self._partition, self._run_id)
        try:
            return self._inner.activate(activation)
        finally:
            self._recorder.leave(self._partition)

    def nondeterminism(self, failure: Failure) -> FailWorkflow | None:
        return self._inner.nondeterminism(failure)

    def close(self) -> None:
        self._recorder.enter(self._partition, self._run_id)
        try:
            self._inner.close()
        finally:
            self._recorder.leave(self._partition)
