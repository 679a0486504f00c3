"""The order saga with a step timeout of seconds: an attempt that died with its service is missed
within a test, not within a minute.
"""

from __future__ import annotations

from datetime import timedelta

import services.orders.workflow as saga
from odradek.common import RetryPolicy

saga.STEP_TIMEOUT = timedelta(seconds=5)
saga.STEP_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), backoff_coefficient=2.0, maximum_attempts=3
)
saga.COMPENSATION_RETRY = RetryPolicy(
    initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=2)
)

WORKFLOWS = saga.WORKFLOWS
