"""Python workflow code behind the engine's activation port.

`PythonActivator` makes an instance of a workflow class for each run; the instance runs its
coroutines on a deterministic asyncio loop, fed with activation jobs, and gives commands back.
`WatchedActivator` puts a watchdog around it. The front door that workflow code imports is
`odradek.workflow`; what stands behind it is here. This room must never read a clock, do I/O, or
know Kafka.
"""

from odradek.activation.activator import PythonActivator
from odradek.activation.interceptors import (
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowOutboundInterceptor,
)
from odradek.activation.watchdog import DeadlockError, Stuck, Watchdog, WatchedActivator

__all__ = [
    "DeadlockError",
    "Interceptor",
    "PythonActivator",
    "Stuck",
    "Watchdog",
    "WatchedActivator",
    "WorkflowInboundInterceptor",
    "WorkflowOutboundInterceptor",
]
