"""Every metric that Odradek exports, declared with `prometheus_client` in its default registry.

Hosts count behind the commit of the transaction that made it so: a replay, an aborted or a
repeated batch adds nothing. Gauges are set when somebody scrapes (`endpoint.render`). Labels are
bounded: types are those that are registered in this process, ids are never labels.
"""

from __future__ import annotations

from collections.abc import Collection

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

#: The label of every type that is not registered here: callers name types, and each name would
#: be series for the life of the process.
UNKNOWN = "(unknown)"

NAMESPACE = ("namespace",)
QUEUE = ("namespace", "task_queue")
PARTITION = ("namespace", "task_queue", "partition")

#: Bounds: from a commit that takes a millisecond to an activity that takes an hour.
SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
    60,
    300,
    1800,
    3600,
)
#: Of what computes or commits.
SHORT_SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    30,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # `x_created` beside each

# Workflows

WORKFLOW_STARTS = Counter(
    "odradek_workflow_starts_total",
    "Runs that began, also as the next of a chain.",
    (*QUEUE, "workflow_type"),
)
WORKFLOW_CLOSES = Counter(
    "odradek_workflow_closes_total",
    "Runs that closed. status: COMPLETED, FAILED, CANCELED, TERMINATED, TIMED_OUT, "
    "CONTINUED_AS_NEW, each from 0 for every type that is registered here.",
    (*QUEUE, "workflow_type", "status"),
)
WORKFLOW_SECONDS = Histogram(
    "odradek_workflow_run_seconds",
    "Start to close of a run.",
    (*QUEUE, "workflow_type"),
    buckets=(*SECONDS, 21_600, 86_400, 604_800),
)
TASK_SECONDS = Histogram(
    "odradek_workflow_task_seconds",
    "Time that workflow code ran in one activation (a workflow task or a query).",
    (*QUEUE, "workflow_type"),
    buckets=SHORT_SECONDS,
)
REPLAY_SECONDS = Histogram(
    "odradek_replay_seconds",
    "Time that workflow code ran to bring one evicted run back.",
    QUEUE,
    buckets=SHORT_SECONDS,
)
REPLAY_ACTIVATIONS = Counter(
    "odradek_replay_activations_total", "Activations that were done again for replays.", QUEUE
)
HISTORY_EVENTS = Counter(
    "odradek_history_events_total",
    "Events written to histories, by Temporal's event types: signals, timers, "
    "cancellations, activity timeouts, failed workflow tasks. A task that completed is "
    "its three: WorkflowTaskScheduled, WorkflowTaskStarted, WorkflowTaskCompleted.",
    (*QUEUE, "event_type"),
)

# Partitions: counters go on when a partition leaves the process and comes back

PARTITION_RUNNING = Gauge(
    "odradek_partition_running",
    "1: it is acquired and works. 0: it fences, restores, waits or has failed.",
    PARTITION,
)
PARTITION_STATE = Gauge(
    "odradek_partition_state", "1 for the state that the partition is in.", (*PARTITION, "state")
)
PARTITION_QUEUE = Gauge("odradek_partition_queue_depth", "Inputs that wait in memory.", PARTITION)
PARTITION_LAG = Gauge(
    "odradek_partition_lag",
    "Records of `events` that are not applied yet, by the end that came with the last "
    "fetch. Missing while nothing was fetched.",
    PARTITION,
)
PARTITION_INPUTS = Counter(
    "odradek_partition_inputs_total",
    "Records of `events` that were applied or otherwise dealt with.",
    PARTITION,
)
PARTITION_TRANSACTIONS = Counter(
    "odradek_partition_transactions_total", "Transactions committed.", PARTITION
)
PARTITION_RECORDS = Counter(
    "odradek_partition_records_written_total",
    "Rows and outputs written in transactions.",
    PARTITION,
)
PARTITION_BATCH = Histogram(
    "odradek_partition_batch_inputs",
    "Inputs in a transaction.",
    QUEUE,
    buckets=(1, 2, 5, 10, 20, 50, 100, 200),
)
PARTITION_STEP_SECONDS = Histogram(
    "odradek_partition_step_seconds",
    "The engine's step for a transaction, workflow code included.",
    QUEUE,
    buckets=SHORT_SECONDS,
)
PARTITION_COMMIT_SECONDS = Histogram(
    "odradek_partition_commit_seconds",
    "Begin of a transaction until it is committed and applied to the local store.",
    QUEUE,
    buckets=SHORT_SECONDS,
)
PARTITION_INPUT_AGE = Histogram(
    "odradek_partition_input_age_seconds",
    "Age of the oldest input of a transaction, from its record's timestamp: the lag in time.",
    QUEUE,
    buckets=SECONDS,
)
REJECTED_BATCHES = Counter(
    "odradek_partition_rejected_batches_total",
    "Transactions aborted because a record was rejected, and done again in halves.",
    PARTITION,
)
RESETS = Counter(
    "odradek_partition_resets_total",
    "Times that the partition was given up and acquired again.",
    PARTITION,
)
PARTITION_FORWARDED = Counter(
    "odradek_partition_forwarded_total",
    "Events on the wrong partition, forwarded: a producer without murmur2.",
    PARTITION,
)
PARTITION_EXPIRED = Counter(
    "odradek_partition_expired_requests_total",
    "Queries and other reads dropped because their deadline had passed.",
    PARTITION,
)
PARTITION_SILENT = Gauge(
    "odradek_partition_silent_seconds",
    "Since the partition's thread last went round. Above `liveness_timeout` the process is not "
    "live.",
    PARTITION,
)
RESTORE_REMAINING = Gauge(
    "odradek_partition_restore_remaining",
    "Records of `state` that are yet to be restored.",
    PARTITION,
)
RESTORES = Counter(
    "odradek_partition_restores_total",
    "Times that the local store was caught up with `state`.",
    PARTITION,
)
RESTORE_SECONDS = Counter(
    "odradek_partition_restore_seconds_total", "Time that those took.", PARTITION
)
RESTORED_ROWS = Counter("odradek_partition_restored_rows_total", "Rows that those read.", PARTITION)
OPEN_RUNS = Gauge("odradek_partition_open_runs", "Runs that have not closed.", PARTITION)
TIMERS = Gauge(
    "odradek_partition_timers",
    "Timers in memory: those due in the next minutes, at most 10,000.",
    PARTITION,
)
TIMERS_LATE = Gauge(
    "odradek_partition_timers_late_seconds",
    "How long due timers have waited for the inputs before them. Grows without lag: a "
    "foreign transaction is open on the partition.",
    PARTITION,
)
TIMERS_FIRED = Counter(
    "odradek_partition_timers_fired_total",
    "Timer rows taken up: user timers, timeouts, back-offs, retention.",
    PARTITION,
)
QUARANTINED = Counter(
    "odradek_partition_quarantined_total", "Runs that were quarantined.", PARTITION
)
FAILING = Gauge(
    "odradek_partition_failing_runs",
    "Open runs whose workflow task failed last: quarantined, or waiting for their back-off.",
    PARTITION,
)
DEAD_LETTERS = Counter(
    "odradek_dead_letters_total",
    "Records written to `dead-letters`, by the reason in their headers. kind, who wrote "
    "them: processor (inputs that could not be decoded, routed or applied), activities "
    "(commands that a service cannot read, reports that nobody takes; foreign services "
    "that count them, as payments, under the same name). Each reason is there from 0.",
    (*QUEUE, "kind", "reason"),
)
CACHE_SIZE = Gauge("odradek_cache_runs", "Live runs in memory.", PARTITION)
CACHE_HITS = Counter("odradek_cache_hits_total", "Runs found in memory.", PARTITION)
CACHE_MISSES = Counter(
    "odradek_cache_misses_total", "Runs that had to be loaded, and starts of new ones.", PARTITION
)
CACHE_EVICTIONS = Counter(
    "odradek_cache_evictions_total",
    "Runs that were let go to make room, or with their partition. Each costs a replay if it "
    "goes on.",
    PARTITION,
)
WAITERS = Gauge(
    "odradek_partition_long_polls",
    "Clients that wait for an outcome or a history event.",
    PARTITION,
)
REPLIES = Counter("odradek_replies_total", "Replies handed to the producer.", QUEUE)
REPLIES_FAILED = Counter(
    "odradek_replies_failed_total", "Replies that were not sent. Clients ask again.", QUEUE
)

# Activity services

ACTIVITY_STARTS = Counter(
    "odradek_activity_attempts_total", "Attempts that got a slot.", (*QUEUE, "activity_type")
)
ACTIVITY_OUTCOMES = Counter(
    "odradek_activity_outcomes_total",
    "Attempts that ended here. outcome: completed, failed, canceled, async (its outcome "
    "comes from outside), each from 0 for every type that is registered here.",
    (*QUEUE, "activity_type", "outcome"),
)
ACTIVITY_SECONDS = Histogram(
    "odradek_activity_run_seconds",
    "An attempt from slot to outcome.",
    (*QUEUE, "activity_type"),
    buckets=SECONDS,
)
ACTIVITY_WAIT = Histogram(
    "odradek_activity_schedule_to_start_seconds",
    "From the time that an attempt was scheduled for until it got a slot. By two machines' clocks.",
    (*QUEUE, "activity_type"),
    buckets=SECONDS,
)
SLOTS = Gauge(
    "odradek_activity_slots", "Slots of the service (`max_concurrent_activities`).", QUEUE
)
SLOTS_USED = Gauge("odradek_activity_slots_used", "Slots in use.", QUEUE)
ACTIVITY_WAITING = Gauge(
    "odradek_activity_waiting", "Commands that were read and wait for a slot.", QUEUE
)
ACTIVITY_LAG = Gauge(
    "odradek_activity_lag", "Commands in this member's partitions that are not read yet.", QUEUE
)
HEARTBEATS = Counter("odradek_activity_heartbeats_total", "Heartbeats sent.", QUEUE)
CANCELLATIONS = Counter(
    "odradek_activity_cancellations_total", "Running attempts that were told to stop.", QUEUE
)
HANDED_ON = Counter(
    "odradek_activity_handed_on_total",
    "Commands given to another member because no slot came free.",
    QUEUE,
)
COMMANDS_REFUSED = Counter(
    "odradek_activity_refused_total",
    "Commands that nobody could read, and reports that nobody takes: written to `dead-letters`.",
    QUEUE,
)
REPORTS_PENDING = Gauge(
    "odradek_activity_reports_pending", "Reports that are not durable yet.", QUEUE
)

# Members

CONTACT = Gauge(
    "odradek_kafka_contact_seconds",
    "Since the broker last acknowledged a record of this member, which reports every 3 s.",
    (*QUEUE, "kind"),
)
READY = Gauge("odradek_ready", "What `/health/ready` says of this member.", (*QUEUE, "kind"))
LIVE = Gauge("odradek_live", "What `/health/live` says of this member.", (*QUEUE, "kind"))
PRODUCER_PENDING = Gauge(
    "odradek_producer_pending", "Replies and member reports on their way.", QUEUE
)

# Clients of this process

CLIENT_REQUESTS = Counter("odradek_client_requests_total", "Requests begun.")
CLIENT_RETRIES = Counter(
    "odradek_client_retries_total", "Requests sent once more because no reply came in time."
)
CLIENT_UNMATCHED = Counter(
    "odradek_client_unmatched_replies_total", "Replies that nobody waited for any more."
)
CLIENT_WAITING = Gauge("odradek_client_waiting", "Requests that wait for their reply.", NAMESPACE)
CLIENT_RESPONSE = Gauge("odradek_client_response_seconds", "Smoothed time to a reply.", NAMESPACE)

# Server

HTTP_REQUESTS = Counter(
    "odradek_http_requests_total",
    "Requests by route (its pattern, never its values) and status.",
    ("method", "route", "status"),
)
HTTP_SECONDS = Histogram(
    "odradek_http_request_seconds",
    "Until the response began; event streams count until their first byte.",
    ("method", "route"),
    buckets=SECONDS,
)
HTTP_STREAMS = Gauge("odradek_http_event_streams", "Open event streams.")
KEPT_HISTORIES = Gauge(
    "odradek_http_histories",
    "Histories that pages keep in memory, imported ones among them.",
)
KEPT_BYTES = Gauge(
    "odradek_http_history_bytes",
    "Their size as JSON; 96 MiB at most. In memory it is a few times that.",
    (),
)
VISIBILITY_RUNNING = Gauge(
    "odradek_visibility_running", "1: the read side takes records in.", NAMESPACE
)
VISIBILITY_LAG = Gauge(
    "odradek_visibility_lag",
    "Records of `executions` that are not in the store yet. Missing while no broker tells the end.",
    NAMESPACE,
)
VISIBILITY_RECORDS = Counter("odradek_visibility_records_total", "Records taken in.", NAMESPACE)
VISIBILITY_UNDECODABLE = Counter(
    "odradek_visibility_undecodable_total", "Records that could not be read.", NAMESPACE
)
VISIBILITY_RESTARTS = Counter(
    "odradek_visibility_restarts_total",
    "Times that the read side stopped over an error and started again.",
    NAMESPACE,
)
VISIBILITY_STORE_BYTES = Gauge(
    "odradek_visibility_store_bytes", "Size of the store's files.", NAMESPACE
)
QUEUE_LAG = Gauge(
    "odradek_queue_lag",
    "Records of `events` behind the group's committed offsets, all partitions.",
    QUEUE,
)
QUEUE_COMMANDS = Gauge(
    "odradek_queue_commands_written",
    "Ends of the partitions of `commands`, added up: commands ever written, and the "
    "markers of their transactions.",
    QUEUE,
)
QUEUE_COMMANDS_LAG = Gauge(
    "odradek_queue_commands_lag",
    "Commands that no service has acknowledged. Missing for a share group: nobody knows it.",
    QUEUE,
)
QUEUE_UNOWNED = Gauge(
    "odradek_queue_partitions_unowned",
    "Partitions of `events` that no living processor runs.",
    QUEUE,
)
QUEUE_PROCESSORS = Gauge("odradek_queue_processors", "Stream processors that report.", QUEUE)
QUEUE_OPEN_RUNS = Gauge(
    "odradek_queue_open_runs",
    "Runs that have not closed, as the read side has them: without a processor too.",
    QUEUE,
)
QUEUE_SERVICES = Gauge("odradek_queue_services", "Activity services that report.", QUEUE)
QUEUE_DEAD_LETTERS = Gauge(
    "odradek_queue_dead_letters", "Records that lie in `dead-letters`.", QUEUE
)

# Disk

DISK_FREE = Gauge(
    "odradek_state_dir_free_bytes", "Free space where the state directory lies.", ("state_dir",)
)
DISK_SIZE = Gauge("odradek_state_dir_size_bytes", "Size of that file system.", ("state_dir",))


def label_of(name: str, registered: Collection[str]) -> str:
    """A type as a label."""
    return name if name in registered else UNKNOWN


METRICS: list[MetricWrapperBase] = [
    each for each in list(globals().values()) if isinstance(each, MetricWrapperBase)
]
GAUGES = [each for each in METRICS if isinstance(each, Gauge)]


def page() -> str:
    """The reference page, as Markdown (`make docs`)."""
    lines = [
        "# Metrics",
        "",
        "A worker with the setting `telemetry_port`, and `odradek server`, serve `/metrics`."
        " A histogram `x` appears as `x_bucket{le}`, `x_sum` and `x_count`. Metrics of workflow"
        " and activity code (`metric_meter()`) and of the Python process come beside these.",
        "",
        "| metric | kind | labels | meaning |",
        "|---|---|---|---|",
    ]
    for metric in METRICS:
        family = next(iter(metric.describe()))
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        lines.append(f"| `{name}` | {family.type} | {labels} | {family.documentation} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
