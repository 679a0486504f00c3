"""Every metric that Odradek exports: name, kind, unit, labels, meaning. `python -m
odradek.telemetry.catalog > docs/metrics.md`.

A metric that is not here cannot be exported (`sources.py` names them by these objects), and a
test compares this list with a scrape, the page, the dashboard and the alerts.
"""

from __future__ import annotations

from dataclasses import dataclass

COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"


@dataclass(frozen=True)
class Metric:
    """One family. A counter's name ends with `_total`, as Prometheus shows it; a histogram's
    `_bucket`, `_sum`, `_count` are added.
    """

    name: str
    kind: str
    unit: str
    labels: tuple[str, ...]
    help: str


CATALOG: list[Metric] = []
_SECTIONS: list[tuple[str, str, list[Metric]]] = []


def _section(title: str, text: str) -> None:
    _SECTIONS.append((title, text, []))


def _metric(name: str, kind: str, unit: str, labels: str, help: str) -> Metric:
    metric = Metric(f"odradek_{name}", kind, unit, tuple(labels.split()), help)
    CATALOG.append(metric)
    _SECTIONS[-1][2].append(metric)
    return metric


QUEUE = "namespace task_queue"
LANE = f"{QUEUE} partition"

_section(
    "Workflows",
    "From a stream processor (`odradek worker`, `Worker` with workflows). Counted behind the commit of the transaction that made it so: a "
    "replay, an aborted or a repeated batch adds nothing.",
)
WORKFLOW_STARTS = _metric(
    "workflow_starts_total",
    COUNTER,
    "runs",
    f"{QUEUE} workflow_type",
    "Runs that began, also as the next of a chain.",
)
WORKFLOW_CLOSES = _metric(
    "workflow_closes_total",
    COUNTER,
    "runs",
    f"{QUEUE} workflow_type status",
    "Runs that closed. status: COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, CONTINUED_AS_NEW, each from 0 for every type that is registered here.",
)
WORKFLOW_SECONDS = _metric(
    "workflow_run_seconds",
    HISTOGRAM,
    "seconds",
    f"{QUEUE} workflow_type",
    "Start to close of a run.",
)
TASK_SECONDS = _metric(
    "workflow_task_seconds",
    HISTOGRAM,
    "seconds",
    f"{QUEUE} workflow_type",
    "Time that workflow code ran in one activation (a workflow task or a query).",
)
REPLAY_SECONDS = _metric(
    "replay_seconds",
    HISTOGRAM,
    "seconds",
    QUEUE,
    "Time that workflow code ran to bring one evicted run back.",
)
HISTORY_EVENTS = _metric(
    "history_events_total",
    COUNTER,
    "events",
    f"{QUEUE} event_type",
    "Events written to histories, by Temporal's event types: signals, timers, cancellations, activity timeouts, failed workflow tasks. A task that completed is its three: WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskCompleted.",
)

_section(
    "Lanes",
    "One lane is one owned partition of `events`. Counters go on when a partition leaves and comes back to the process.",
)
LANE_RUNNING = _metric(
    "lane_running",
    GAUGE,
    "0 or 1",
    LANE,
    "1: the lane owns its partition and works. 0: it fences, restores, is dropped, or has failed.",
)
LANE_STATE = _metric(
    "lane_state",
    GAUGE,
    "1",
    f"{LANE} state",
    "1 for the state that the lane is in: ASSIGNED, FENCING, RESTORING, SEEKING, RUNNING, RETRYING, DROPPED, FAILED, CLOSED.",
)
LANE_QUEUE = _metric("lane_queue_depth", GAUGE, "records", LANE, "Inputs that wait in memory.")
LANE_LAG = _metric(
    "lane_lag",
    GAUGE,
    "records",
    LANE,
    "Records of `events` that are not applied yet, by the end that came with the last fetch. Missing while nothing was fetched.",
)
LANE_INPUTS = _metric(
    "lane_inputs_total",
    COUNTER,
    "records",
    LANE,
    "Records of `events` that were applied or otherwise dealt with.",
)
LANE_TRANSACTIONS = _metric(
    "lane_transactions_total", COUNTER, "transactions", LANE, "Transactions committed."
)
LANE_RECORDS = _metric(
    "lane_records_written_total",
    COUNTER,
    "records",
    LANE,
    "Rows and outputs written in transactions.",
)
LANE_BATCH = _metric("lane_batch_inputs", HISTOGRAM, "records", QUEUE, "Inputs in a transaction.")
LANE_STEP_SECONDS = _metric(
    "lane_step_seconds",
    HISTOGRAM,
    "seconds",
    QUEUE,
    "The engine's step for a transaction, workflow code included.",
)
LANE_COMMIT_SECONDS = _metric(
    "lane_commit_seconds",
    HISTOGRAM,
    "seconds",
    QUEUE,
    "Begin of a transaction until it is committed and applied to the local store.",
)
LANE_INPUT_AGE = _metric(
    "lane_input_age_seconds",
    HISTOGRAM,
    "seconds",
    QUEUE,
    "Age of the oldest input of a transaction, from its record's timestamp: the lag in time.",
)
LANE_REFUSED = _metric(
    "lane_refused_total",
    COUNTER,
    "transactions",
    LANE,
    "Transactions aborted because of their content and done again in halves.",
)
LANE_DROPPED = _metric(
    "lane_dropped_total",
    COUNTER,
    "drops",
    LANE,
    "Times that a lane let go of everything and owned its partition anew.",
)
LANE_FORWARDED = _metric(
    "lane_forwarded_total",
    COUNTER,
    "records",
    LANE,
    "Events that lay on the wrong partition and were forwarded: a foreign producer hashes otherwise, or somebody added partitions.",
)
LANE_EXPIRED = _metric(
    "lane_expired_requests_total",
    COUNTER,
    "requests",
    LANE,
    "Queries and other reads dropped because their deadline had passed.",
)
LANE_SILENT = _metric(
    "lane_silent_seconds",
    GAUGE,
    "seconds",
    LANE,
    "Since the lane's thread last went round. Above `liveness_timeout` the process is not live.",
)
RESTORE_REMAINING = _metric(
    "lane_restore_remaining",
    GAUGE,
    "records",
    LANE,
    "Records of `state` that a restoring lane has yet to read.",
)
RESTORES = _metric(
    "lane_restores_total",
    COUNTER,
    "restores",
    LANE,
    "Times that the local store was caught up with `state`.",
)
RESTORE_SECONDS = _metric(
    "lane_restore_seconds_total", COUNTER, "seconds", LANE, "Time that those took."
)
RESTORED_ROWS = _metric("lane_restored_rows_total", COUNTER, "rows", LANE, "Rows that those read.")
OPEN_RUNS = _metric("lane_open_runs", GAUGE, "runs", LANE, "Runs that have not closed.")
TIMERS = _metric(
    "lane_timers",
    GAUGE,
    "timers",
    LANE,
    "Timers in memory: those due in the next minutes, at most 10,000.",
)
TIMERS_LATE = _metric(
    "lane_timers_late_seconds",
    GAUGE,
    "seconds",
    LANE,
    "How long due timers have waited for the inputs before them. Grows without lag: a foreign transaction is open on the partition.",
)
TIMERS_FIRED = _metric(
    "lane_timers_fired_total",
    COUNTER,
    "timers",
    LANE,
    "Timer rows taken up: user timers, timeouts, back-offs, retention.",
)
PARKED = _metric(
    "lane_parked_total",
    COUNTER,
    "runs",
    LANE,
    "Runs that were parked: blocked or spinning code, a killed owner, a refused transaction, a defect.",
)
FAILING = _metric(
    "lane_failing_runs",
    GAUGE,
    "runs",
    LANE,
    "Open runs whose workflow task failed last: parked, or waiting for their back-off.",
)
DEAD_LETTERS = _metric(
    "dead_letters_total",
    COUNTER,
    "records",
    f"{QUEUE} kind reason",
    "Records written to `dead-letters`, by the reason in their headers. kind, who wrote them: processor (inputs that could not be decoded, routed or applied), activities (commands that a service cannot read, answers that nobody takes; foreign services that count them, as payments, under the same name). Each reason is there from 0.",
)
CACHE_SIZE = _metric("cache_runs", GAUGE, "runs", LANE, "Live runs in memory.")
CACHE_HITS = _metric("cache_hits_total", COUNTER, "look-ups", LANE, "Runs found in memory.")
CACHE_MISSES = _metric(
    "cache_misses_total",
    COUNTER,
    "look-ups",
    LANE,
    "Runs that had to be loaded, and starts of new ones.",
)
CACHE_EVICTIONS = _metric(
    "cache_evictions_total",
    COUNTER,
    "runs",
    LANE,
    "Runs that were let go to make room, or with their lane. Each costs a replay if it goes on.",
)
WAITERS = _metric(
    "lane_long_polls",
    GAUGE,
    "requests",
    LANE,
    "Clients that wait for an outcome or a history event.",
)
REPLIES = _metric("replies_total", COUNTER, "records", QUEUE, "Replies handed to the producer.")
REPLIES_FAILED = _metric(
    "replies_failed_total",
    COUNTER,
    "records",
    QUEUE,
    "Replies that were not sent. Clients ask again.",
)

_section(
    "Activity services",
    "From a `Worker` with activities. An attempt that Kafka delivers twice and that runs twice counts twice: it ran twice.",
)
ACTIVITY_STARTS = _metric(
    "activity_attempts_total",
    COUNTER,
    "attempts",
    f"{QUEUE} activity_type",
    "Attempts that got a slot.",
)
ACTIVITY_OUTCOMES = _metric(
    "activity_outcomes_total",
    COUNTER,
    "attempts",
    f"{QUEUE} activity_type outcome",
    "Attempts that ended here. outcome: completed, failed, canceled, async (its outcome comes from outside), each from 0 for every type that is registered here.",
)
ACTIVITY_SECONDS = _metric(
    "activity_run_seconds",
    HISTOGRAM,
    "seconds",
    f"{QUEUE} activity_type",
    "An attempt from slot to outcome.",
)
ACTIVITY_WAIT = _metric(
    "activity_schedule_to_start_seconds",
    HISTOGRAM,
    "seconds",
    f"{QUEUE} activity_type",
    "From the time that an attempt was scheduled for until it got a slot. By two machines' clocks.",
)
SLOTS = _metric(
    "activity_slots", GAUGE, "slots", QUEUE, "Slots of the service (`max_concurrent_activities`)."
)
SLOTS_USED = _metric("activity_slots_used", GAUGE, "slots", QUEUE, "Slots in use.")
ACTIVITY_WAITING = _metric(
    "activity_waiting", GAUGE, "commands", QUEUE, "Commands that were read and wait for a slot."
)
ACTIVITY_LAG = _metric(
    "activity_lag",
    GAUGE,
    "records",
    QUEUE,
    "Commands in this member's partitions that are not read yet.",
)
HEARTBEATS = _metric("activity_heartbeats_total", COUNTER, "records", QUEUE, "Heartbeats sent.")
CANCELLATIONS = _metric(
    "activity_cancellations_total",
    COUNTER,
    "attempts",
    QUEUE,
    "Running attempts that were told to stop.",
)
HANDED_ON = _metric(
    "activity_handed_on_total",
    COUNTER,
    "commands",
    QUEUE,
    "Commands given to another member because no slot came free.",
)
COMMANDS_REFUSED = _metric(
    "activity_refused_total",
    COUNTER,
    "records",
    QUEUE,
    "Commands that nobody could read, and answers that nobody takes: written to `dead-letters`.",
)
ANSWERS_PENDING = _metric(
    "activity_answers_pending", GAUGE, "records", QUEUE, "Answers that are not durable yet."
)

_section("Members", "From processors and services alike. kind: processor, activities.")
CONTACT = _metric(
    "kafka_contact_seconds",
    GAUGE,
    "seconds",
    f"{QUEUE} kind",
    "Since the broker last acknowledged a record of this member, which reports every 3 s.",
)
READY = _metric(
    "ready", GAUGE, "0 or 1", f"{QUEUE} kind", "What `/health/ready` says of this member."
)
LIVE = _metric("live", GAUGE, "0 or 1", f"{QUEUE} kind", "What `/health/live` says of this member.")
PRODUCER_RECORDS = _metric(
    "producer_records_total",
    COUNTER,
    "records",
    f"{QUEUE} outcome",
    "Records of a processor outside transactions (replies, member reports). outcome: delivered, failed.",
)
PRODUCER_PENDING = _metric(
    "producer_pending", GAUGE, "records", QUEUE, "Such records on their way."
)

_section(
    "Clients",
    "From a process that was given its client's statistics (`odradek server`, the order API).",
)
CLIENT_REQUESTS = _metric(
    "client_requests_total", COUNTER, "requests", "namespace", "Requests begun."
)
CLIENT_ASKED_AGAIN = _metric(
    "client_asked_again_total",
    COUNTER,
    "requests",
    "namespace",
    "Requests sent once more because no reply came in time.",
)
CLIENT_UNMATCHED = _metric(
    "client_unmatched_replies_total",
    COUNTER,
    "replies",
    "namespace",
    "Replies that nobody waited for any more.",
)
CLIENT_WAITING = _metric(
    "client_waiting", GAUGE, "requests", "namespace", "Requests that wait for their reply."
)
CLIENT_RESPONSE = _metric(
    "client_response_seconds", GAUGE, "seconds", "namespace", "Smoothed time to a reply."
)

_section(
    "Server",
    "From `odradek server`. What it says of queues comes from the brokers' offsets and the members' reports, so it also shows queues that nobody serves.",
)
HTTP_REQUESTS = _metric(
    "http_requests_total",
    COUNTER,
    "requests",
    "method route status",
    "Requests by route (its pattern, never its values) and status.",
)
HTTP_SECONDS = _metric(
    "http_request_seconds",
    HISTOGRAM,
    "seconds",
    "method route",
    "Until the response began; event streams count until their first byte.",
)
HTTP_STREAMS = _metric("http_event_streams", GAUGE, "streams", "", "Open event streams.")
KEPT_HISTORIES = _metric(
    "http_histories",
    GAUGE,
    "histories",
    "",
    "Histories that pages keep in memory, imported ones among them.",
)
KEPT_EVENTS = _metric(
    "http_history_events", GAUGE, "events", "", "Events of these histories; 150,000 at most."
)
KEPT_BYTES = _metric(
    "http_history_bytes",
    GAUGE,
    "bytes",
    "",
    "Their size as JSON; 96 MiB at most. In memory it is a few times that.",
)
KEPT_LOOKUPS = _metric(
    "http_history_lookups_total",
    COUNTER,
    "look-ups",
    "found",
    "Histories that pages wanted. found: hit, miss (read from the owner).",
)
KEPT_DROPPED = _metric(
    "http_histories_dropped_total", COUNTER, "histories", "", "Histories that went to make room."
)
VISIBILITY_RUNNING = _metric(
    "visibility_running", GAUGE, "0 or 1", "namespace", "1: the read side takes records in."
)
VISIBILITY_LAG = _metric(
    "visibility_lag",
    GAUGE,
    "records",
    "namespace",
    "Records of `executions` that are not in the store yet. Missing while no broker tells the end.",
)
VISIBILITY_RECORDS = _metric(
    "visibility_records_total", COUNTER, "records", "namespace", "Records taken in."
)
VISIBILITY_BATCHES = _metric(
    "visibility_batches_total", COUNTER, "transactions", "namespace", "Transactions of the store."
)
VISIBILITY_ROWS = _metric(
    "visibility_rows_total",
    COUNTER,
    "rows",
    "namespace change",
    "Rows of runs. change: written, deleted.",
)
VISIBILITY_SKIPPED = _metric(
    "visibility_records_skipped_total",
    COUNTER,
    "records",
    "namespace",
    "Records that the store had already.",
)
VISIBILITY_UNDECODABLE = _metric(
    "visibility_undecodable_total",
    COUNTER,
    "records",
    "namespace",
    "Records that could not be read.",
)
VISIBILITY_RESTARTS = _metric(
    "visibility_restarts_total",
    COUNTER,
    "restarts",
    "namespace",
    "Times that the intake stopped over an error and began anew.",
)
VISIBILITY_STORE_BYTES = _metric(
    "visibility_store_bytes", GAUGE, "bytes", "namespace", "Size of the store's files."
)
QUEUE_LAG = _metric(
    "queue_lag",
    GAUGE,
    "records",
    QUEUE,
    "Records of `events` behind the group's committed offsets, all partitions.",
)
QUEUE_COMMANDS = _metric(
    "queue_commands_total",
    COUNTER,
    "records",
    QUEUE,
    "Ends of the partitions of `commands`, added up: commands ever written, and the markers of their transactions.",
)
QUEUE_COMMANDS_LAG = _metric(
    "queue_commands_lag",
    GAUGE,
    "records",
    QUEUE,
    "Commands that no service has acknowledged. Missing for a share group: nobody knows it.",
)
QUEUE_UNOWNED = _metric(
    "queue_partitions_unowned",
    GAUGE,
    "partitions",
    QUEUE,
    "Partitions of `events` that no living processor runs.",
)
QUEUE_PROCESSORS = _metric(
    "queue_processors", GAUGE, "members", QUEUE, "Stream processors that report."
)
QUEUE_OPEN_RUNS = _metric(
    "queue_open_runs",
    GAUGE,
    "runs",
    QUEUE,
    "Runs that have not closed, as the read side has them: without a processor too.",
)
QUEUE_SERVICES = _metric(
    "queue_services", GAUGE, "members", QUEUE, "Activity services that report."
)
QUEUE_DEAD_LETTERS = _metric(
    "queue_dead_letters", GAUGE, "records", QUEUE, "Records that lie in `dead-letters`."
)

_section("Disk", "From every process with a state directory.")
DISK_FREE = _metric(
    "state_dir_free_bytes", GAUGE, "bytes", "", "Free space where the state directory lies."
)
DISK_SIZE = _metric("state_dir_size_bytes", GAUGE, "bytes", "", "Size of that file system.")

_HEAD = """\
<!-- Written by `python -m odradek.telemetry.catalog > docs/metrics.md`; change streams/odradek/telemetry/catalog.py instead. -->
# Metrics

A worker serves `/metrics` for Prometheus when it has the setting `telemetry_port` (and the extra: `pip install 'odradek[telemetry]'`);
`odradek server` serves it beside its pages. `deploy/prometheus/` has a scrape configuration and alerts, `deploy/grafana/` a dashboard, and
`docker compose up` starts both. What to do about them: `docs/operate.md`, "Watch".

Nothing is counted at replay, and nothing is exported for a record: processes keep plain counters, read when they are scraped. `workflow_type`
and `activity_type` are types that this process has registered, 200 at most and the rest `(other)`; whatever else callers name, also what a dynamic
workflow or activity serves, is counted under `(unknown)`. `partition` is a number; ids are never labels. A histogram `x` appears as
`x_bucket{le}`, `x_sum` and `x_count`. Beside these, the Python process' own metrics are served (`process_cpu_seconds_total`,
`process_resident_memory_bytes`, `python_gc_...`), and what workflow and activity code records itself through `workflow.metric_meter()` and
`activity.metric_meter()`, under its own names with `namespace`, `task_queue` and `workflow_type` or `activity_type`; workflow code records nothing at replay.
"""

# Names and labels are those of services/foreign_telemetry.py, which does not import this
# (tests/services/test_foreign_telemetry.py).
_FOREIGN = """\

## The example's foreign services

From payments and notifications (`services/`), which do not import Odradek, at their key `telemetry`; beside these `odradek_dead_letters_total` of
payments, as above. `service`: payments, notifications (records alone). `kind`: activity types that payments knows, `(unknown)` for others.

| metric | kind | unit | labels | meaning |
|---|---|---|---|---|
| `foreign_records_total` | counter | records | `service` | Records read. |
| `foreign_outcomes_total` | counter | pieces of work | `service`, `kind`, `outcome` | What became of them, by kind of work and outcome. |
| `foreign_work_seconds` | histogram | seconds | `service`, `kind` | Time that the work took. |
"""


def page() -> str:
    """The text of docs/metrics.md."""
    parts = [_HEAD]
    for title, text, metrics in _SECTIONS:
        parts.append(
            f"\n## {title}\n\n{text}\n\n| metric | kind | unit | labels | meaning |\n|---|---|---|---|---|\n"
        )
        for metric in metrics:
            labels = ", ".join(f"`{label}`" for label in metric.labels) or "none"
            parts.append(
                f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |\n"
            )
    return "".join([*parts, _FOREIGN])


if __name__ == "__main__":
    print(page(), end="")
