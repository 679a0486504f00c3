"""Threads that convert to the same Struct for the first time, all at once: each time it ended
the process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Ten processes in which four threads convert to every record, and what they ended with.
CONVERTS = """
import os, sys, threading
import msgspec
from odradek.wire.codec import RECORD_TYPES
from tests.unit.wire_samples import sample

records = [(record_type, msgspec.to_builtins(sample(record_type), builtin_types=(bytes,))) for record_type in RECORD_TYPES]
sys.setswitchinterval(1e-6)
for _ in range(10):
    if not (pid := os.fork()):
        together = threading.Barrier(4)
        def convert():
            together.wait()
            for record_type, fields in records:
                msgspec.convert(fields, record_type)
        threads = [threading.Thread(target=convert) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_records_of_another_version_may_be_read_by_several_threads_at_once() -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'streams'}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", CONVERTS],
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    ends = [int(line) for line in done.stdout.split()]
    assert -signal.SIGSEGV not in ends and ends == [0] * 10, ends
