"""Activity host: runs attempts of activities that the engine schedules, one Kafka group a task queue.

Reads `commands`, answers on `events` of the workflow's queue. At least once: an attempt may run
twice, its result counts once. Owns one attempt at a time; retries and timeouts are the engine's.
Knows no workflow code.
"""

from odradek.activities.host import ActivityHost

__all__ = ["ActivityHost"]
