"""Live and ready, and why not: pure functions of snapshots.

Live: every thread that has work goes round. A process that is not live does not recover by
itself, so a probe may restart it; an outage of the broker, a restore that takes long, or a lane
that needs a person are not that, since a restart would not mend them. Ready: everything that
this process was given is owned, restored and working, and the broker answers.
"""

from __future__ import annotations

from odradek.activities.statistics import ActivityStatistics
from odradek.processor.statistics import ProcessorStatistics
from odradek.telemetry.endpoint import Health

#: Members report every 3 s; three reports without an acknowledgement are an outage.
CONTACT_SECONDS = 10.0
#: Lanes in other states wait for the broker, for their turn, or for a person; their thread need not
#: go round.
_WORKING = ("RUNNING", "RETRYING")


def health_of_processor(
    found: ProcessorStatistics, liveness_s: float, *, contact_s: float = CONTACT_SECONDS
) -> Health:
    """Of a stream processor. liveness_s: silence after which a thread counts as hanging."""
    where = f"processor of {found.task_queue}"
    dead: list[str] = []
    missing: list[str] = []
    if found.fatal:
        missing.append(f"{where}: {found.fatal}")
    if found.stopping:
        missing.append(f"{where}: it is shutting down")
    elif found.group_silent_seconds > liveness_s or (
        found.group_silent_seconds and not found.group_alive and not found.fatal
    ):
        dead.append(
            f"{where}: the group's thread has been silent for {found.group_silent_seconds:.0f} s"
        )
    for lane in found.lanes.values():
        name = f"{where}, partition {lane.partition}"
        if lane.state in _WORKING and lane.silent_seconds > liveness_s:
            dead.append(
                f"{name}: the lane's thread has been silent for {lane.silent_seconds:.0f} s"
            )
        elif lane.state in _WORKING and not lane.alive:
            dead.append(f"{name}: the lane's thread has ended")
        elif not lane.running:
            left = (
                f", {lane.restore_remaining} records to restore" if lane.restore_remaining else ""
            )
            missing.append(f"{name}: {lane.state}{left}{': ' + lane.error if lane.error else ''}")
    if not found.assigned and not found.fatal:
        missing.append(f"{where}: the group has not assigned partitions yet")
    missing.extend(_contact(where, found, found.contact_error or found.producer.error, contact_s))
    return Health(tuple(dead), tuple(missing))


def health_of_activities(
    found: ActivityStatistics, liveness_s: float, *, contact_s: float = CONTACT_SECONDS
) -> Health:
    """Of an activity service."""
    where = f"activities of {found.task_queue}"
    dead: list[str] = []
    missing: list[str] = []
    if found.draining:
        missing.append(f"{where}: it is shutting down")
    elif found.thread_silent_seconds > liveness_s or (
        found.thread_silent_seconds and not found.thread_alive
    ):
        dead.append(
            f"{where}: the consumer's thread has been silent for"
            f" {found.thread_silent_seconds:.0f} s"
        )
    if found.loop_silent_seconds > liveness_s and not found.draining:
        dead.append(
            f"{where}: the event loop has been blocked for {found.loop_silent_seconds:.0f} s, an"
            " async activity does not yield"
        )
    if not found.assigned:
        missing.append(f"{where}: the group has not assigned partitions yet")
    missing.extend(_contact(where, found, found.contact_error, contact_s))
    return Health(tuple(dead), tuple(missing))


def _contact(
    where: str, found: ProcessorStatistics | ActivityStatistics, reason: str, limit_s: float
) -> list[str]:
    if found.missing_topic:  # then statuses may have nowhere to go, whoever answers
        return [f"{where}: {found.missing_topic}"]
    seconds, why = found.contact_seconds, f": {reason}" if reason else ""
    if seconds is None:
        return [f"{where}: no broker has answered yet{why}"]
    return (
        [f"{where}: no broker has answered for {seconds:.0f} s{why}"] if seconds > limit_s else []
    )
