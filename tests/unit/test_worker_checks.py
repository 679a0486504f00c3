"""What a `Worker` refuses before it opens anything, with Temporal's texts, and what it keeps of
its keywords.
"""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from odradek import activity, workflow
from odradek.client import Client
from odradek.common import VersioningBehavior, WorkerDeploymentVersion
from odradek.config import Settings
from odradek.converter import DataConverter, PayloadCodec
from odradek.wire.payload import Payload
from odradek.worker import (
    FixedSizeSlotSupplier,
    Interceptor,
    Plugin,
    PollerBehaviorAutoscaling,
    PollerBehaviorSimpleMaximum,
    UnsandboxedWorkflowRunner,
    Worker,
    WorkerConfig,
    WorkerDeploymentConfig,
    WorkerTuner,
)
from odradek.worker.workflow_sandbox import (
    RestrictedWorkflowAccessError,
    SandboxedWorkflowRunner,
    SandboxMatcher,
    SandboxRestrictions,
)


@activity.defn
async def work() -> None: ...


@activity.defn
def blocking() -> None: ...


@workflow.defn
class Flow:
    @workflow.run
    async def run(self) -> None: ...


def client(
    *,
    lazy: bool = False,
    interceptors: Sequence[Any] = (),
    plugins: Sequence[Any] = (),
    **changes: Any,
) -> Client:
    """As much of a client as a worker looks at before it runs."""
    config = {"plugins": list(plugins), "interceptors": list(interceptors)}
    fake: Any = SimpleNamespace(
        config=lambda active_config=False: config,
        settings=Settings(),
        namespace="ns",
        identity="client-identity",
        data_converter=DataConverter.default,
        service_client=SimpleNamespace(lazy=lazy),
    )
    vars(fake).update(changes)
    found: Client = fake
    return found


def test_keywords_are_temporals() -> None:
    parameters = inspect.signature(Worker).parameters
    assert next(iter(parameters)) == "client"
    assert all(
        parameter.kind is inspect.Parameter.KEYWORD_ONLY
        for name, parameter in parameters.items()
        if name != "client"
    )
    assert set(parameters) == set(WorkerConfig.__annotations__)


def test_nothing_registered() -> None:
    with pytest.raises(
        ValueError, match="At least one activity, Nexus service, or workflow must be specified"
    ):
        Worker(client(), task_queue="q")


def test_duplicates_and_what_cannot_be_registered() -> None:
    with pytest.raises(ValueError, match="More than one activity named work"):
        Worker(client(), task_queue="q", activities=[work, work])
    with pytest.raises(ValueError, match="More than one workflow named Flow"):
        Worker(client(), task_queue="q", workflows=[Flow, Flow])
    with pytest.raises(ValueError, match="is not async so an activity_executor must be present"):
        Worker(client(), task_queue="q", activities=[blocking])


@pytest.mark.parametrize(("queue", "told"), [("", "the task queue is empty"), ("q" * 300, "249")])
def test_queue_that_can_name_no_topic(queue: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Worker(client(), task_queue=queue, activities=[work])


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("keyword", "value", "told"),
    [
        ("task_queue", None, "must be a text"),
        ("identity", 7, "must be a text"),
        ("max_cached_workflows", -1, "0 or more"),
        ("max_cached_workflows", 1.5, "whole number"),
        ("max_concurrent_activities", 0, "1 or more"),
        ("max_concurrent_activities", -1, "1 or more"),
        ("max_concurrent_activities", "ten", "whole number"),
        ("max_concurrent_activities", True, "whole number"),
        ("max_concurrent_workflow_tasks", 0, "1 or more"),
        ("max_concurrent_local_activities", -1, "1 or more"),
        ("max_concurrent_nexus_tasks", -1, "1 or more"),
        ("max_concurrent_workflow_task_polls", 0, "1 or more"),
        ("max_concurrent_activity_task_polls", 0, "1 or more"),
        ("max_workflow_task_external_storage_concurrency", 0, "1 or more"),
        ("max_eager_activity_reservations_per_workflow_task", 0, "must be positive"),
        ("max_activities_per_second", 0, "must be positive"),
        ("max_activities_per_second", -0.5, "must be positive"),
        ("max_activities_per_second", float("nan"), "must be positive"),
        ("max_activities_per_second", float("inf"), "must be positive"),
        ("max_task_queue_activities_per_second", -1, "must be positive"),
        ("nonsticky_to_sticky_poll_ratio", -0.1, "not negative"),
        ("graceful_shutdown_timeout", -SECOND, "must not be negative"),
        ("graceful_shutdown_timeout", 5, "must be a timedelta"),
        ("plugin_shutdown_timeout", -SECOND, "must not be negative"),
        ("sticky_queue_schedule_to_start_timeout", -SECOND, "must not be negative"),
        ("max_heartbeat_throttle_interval", -SECOND, "must not be negative"),
        ("max_heartbeat_throttle_interval", None, "must be a timedelta"),
        ("default_heartbeat_throttle_interval", -SECOND, "must not be negative"),
        ("tuner", WorkerTuner.create_fixed(activity_slots=0), "1 or more"),
        ("workflow_task_poller_behavior", PollerBehaviorSimpleMaximum(0), "1 or more"),
        (
            "activity_task_poller_behavior",
            PollerBehaviorAutoscaling(minimum=5, maximum=2),
            "5 or more",
        ),
    ],
)
def test_value_out_of_range_is_refused_by_name(keyword: str, value: Any, told: str) -> None:
    """Here, as the settings model refuses them, and not by a worker that hangs or a run that
    fails.
    """
    arguments: dict[str, Any] = {
        "task_queue": "q",
        "workflows": [Flow],
        "activities": [work],
        keyword: value,
    }
    with pytest.raises(ValueError, match=f"^{keyword}.*{told}"):
        Worker(client(), **arguments)


def test_values_at_the_edge_of_their_range() -> None:
    Worker(
        client(),
        task_queue="q",
        activities=[work],
        workflows=[Flow],
        max_cached_workflows=0,
        max_concurrent_activities=1,
        max_activities_per_second=0.01,
        graceful_shutdown_timeout=timedelta(0),
        plugin_shutdown_timeout=None,
        max_heartbeat_throttle_interval=timedelta(0),
        default_heartbeat_throttle_interval=timedelta(0),
    )


def test_what_a_worker_is_not_told_is_the_settings() -> None:
    """Every argument that has a setting of its name. A default of the argument's own would
    always win over them.
    """
    shared = set(Settings.model_fields) & set(inspect.signature(Worker).parameters) - {"task_queue"}
    defaults = {name: inspect.signature(Worker).parameters[name].default for name in shared}
    assert defaults == dict.fromkeys(
        (
            "identity",
            "max_cached_workflows",
            "max_concurrent_activities",
            "graceful_shutdown_timeout",
        )
    ), "None: the setting's"
    settings = Settings(
        max_cached_workflows=7,
        max_concurrent_activities=8,
        graceful_shutdown_timeout=timedelta(seconds=9),
        identity="i",
    )

    def taken(**arguments: Any) -> tuple[int, int, float, str]:
        own = client(settings=settings, identity=settings.identity)
        worker = Worker(own, task_queue="q", workflows=[Flow], activities=[work], **arguments)
        assert worker._processor is not None and worker._activity_host is not None
        engine: Any = worker._processor._new_engine(0)
        host: Any = worker._activity_host
        return (
            engine._limits.max_cached_workflows,
            host._slots_total,
            host._graceful_shutdown_s,
            host.identity,
        )

    assert taken() == (7, 8, 9.0, "i")
    given = taken(
        max_cached_workflows=0,
        max_concurrent_activities=1,
        graceful_shutdown_timeout=timedelta(0),
        identity="own",
    )
    assert given == (0, 1, 0.0, "own")


def test_lazy_clients_are_refused() -> None:
    with pytest.raises(RuntimeError, match="Lazy clients cannot be used for workers"):
        Worker(client(lazy=True), task_queue="q", activities=[work])


def test_versioning_keywords_are_checked() -> None:
    version = WorkerDeploymentVersion(deployment_name="d", build_id="1")
    with pytest.raises(
        ValueError, match="build_id must be specified when use_worker_versioning is True"
    ):
        Worker(client(), task_queue="q", activities=[work], use_worker_versioning=True)
    with pytest.raises(
        ValueError, match="deployment_config cannot be used with build_id or use_worker_versioning"
    ):
        Worker(
            client(),
            task_queue="q",
            activities=[work],
            build_id="1",
            deployment_config=WorkerDeploymentConfig(version, True),
        )
    with pytest.raises(ValueError, match="default_versioning_behavior must be UNSPECIFIED"):
        deployment = WorkerDeploymentConfig(version, False, VersioningBehavior.PINNED)
        Worker(client(), task_queue="q", activities=[work], deployment_config=deployment)


def test_few_threads_are_warned_about() -> None:
    with (
        ThreadPoolExecutor(2) as pool,
        pytest.warns(
            UserWarning,
            match="max_concurrent_activities is 5 but activity_executor's max_workers is only 2",
        ),
    ):
        Worker(
            client(),
            task_queue="q",
            activities=[blocking],
            activity_executor=pool,
            max_concurrent_activities=5,
        )


def test_few_threads_beside_the_slots_of_the_settings_are_warned_about_too() -> None:
    """Whatever is not said to the worker is the setting's, 100 by default: 92 attempts would
    have begun, and wait for a thread.
    """
    text = "max_concurrent_activities is 100 but activity_executor's max_workers is only 8"
    with ThreadPoolExecutor(8) as pool:
        with pytest.warns(UserWarning, match=text) as said:
            Worker(client(), task_queue="q", activities=[blocking, work], activity_executor=pool)
        of_ours = [
            Path(warning.filename) for warning in said if warning.category is UserWarning
        ]  # the collector warns of others' files
        assert of_ours == [Path(__file__)], "it names the line that made the worker"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Worker(
                client(settings=Settings(max_concurrent_activities=8)),
                task_queue="q",
                activities=[blocking],
                activity_executor=pool,
            )
            Worker(
                client(), task_queue="q", activities=[work], activity_executor=pool
            )  # on the loop, all of them
            Worker(
                client(),
                task_queue="q",
                activities=[blocking],
                activity_executor=pool,
                max_concurrent_activities=8,
            )


def test_codec_over_workflows_is_refused_instead_of_ignored() -> None:
    class Codec(PayloadCodec):
        async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return list(payloads)

        async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
            return list(payloads)

    converter = dataclasses.replace(DataConverter.default, payload_codec=Codec())
    with pytest.raises(ValueError, match="payload_codec"):
        Worker(client(data_converter=converter), task_queue="q", workflows=[Flow])
    Worker(client(data_converter=converter), task_queue="q", activities=[work])


def test_config_and_properties() -> None:
    one = client()
    worker = Worker(
        one,
        task_queue="q",
        activities=[work],
        workflows=[Flow],
        identity="me",
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    assert worker.task_queue == "q" and worker.client is one
    assert not worker.is_running and not worker.is_shutdown
    config = worker.config()
    assert (
        config["activities"] == [work]
        and config["workflows"] == [Flow]
        and config["identity"] == "me"
    )
    assert worker._activity_host is not None and worker._activity_host.identity == "me"
    two = client()
    worker.client = two
    assert worker.client is two and worker._activity_host._runner.client is two


def test_identity_defaults_to_the_clients_and_slots_to_the_tuners() -> None:
    worker = Worker(
        client(),
        task_queue="q",
        activities=[work],
        tuner=WorkerTuner.create_fixed(activity_slots=7),
    )
    host = worker._activity_host
    assert host is not None and host.identity == "client-identity" and host._slots_total == 7
    supplier = FixedSizeSlotSupplier(3)
    tuner = WorkerTuner.create_composite(
        workflow_supplier=supplier, activity_supplier=supplier, local_activity_supplier=supplier
    )
    assert tuner.activity_slots == 3


def test_no_remote_activities_leaves_the_host_out() -> None:
    worker = Worker(
        client(), task_queue="q", activities=[work], workflows=[Flow], no_remote_activities=True
    )
    assert worker._activity_host is None and worker._processor is not None


def test_interceptors_of_the_client_come_first() -> None:
    first, second = Interceptor(), Interceptor()
    worker = Worker(
        client(interceptors=[first, object()]),
        task_queue="q",
        activities=[work],
        interceptors=[second],
    )
    assert worker._activity_host is not None and worker._activity_host._runner._interceptors == [
        first,
        second,
    ]


def test_plugins_change_the_configuration_and_wrap_the_run() -> None:
    class Renames(Plugin):
        def configure_worker(self, config: WorkerConfig) -> WorkerConfig:
            config["task_queue"] += "-renamed"
            return config

        async def run_worker(
            self, worker: Worker, next: Callable[[Worker], Awaitable[None]]
        ) -> None:
            await next(worker)

    worker = Worker(
        client(plugins=[Renames(), object()]), task_queue="q", activities=[work], plugins=[]
    )
    assert worker.task_queue == "q-renamed" and worker.config()["task_queue"] == "q"
    with pytest.warns(UserWarning, match="is present from both client and worker"):
        Worker(client(plugins=[Renames()]), task_queue="q", activities=[work], plugins=[Renames()])


async def test_async_with_needs_a_start_before_its_end() -> None:
    with pytest.raises(RuntimeError, match="Never started"):
        await Worker(client(), task_queue="q", activities=[work]).__aexit__(None)


def test_sandbox_names_keep_what_they_are_given() -> None:
    restrictions = SandboxRestrictions.default.with_passthrough_modules("pydantic")
    assert (
        "pydantic"
        in SandboxedWorkflowRunner(restrictions=restrictions).restrictions.passthrough_modules
    )
    assert SandboxRestrictions.default.with_passthrough_all_modules().passthrough_all_modules
    both = SandboxMatcher.nested_child(
        ["os", "path"], SandboxMatcher(use={"exists"})
    ) | SandboxMatcher(access={"random"})
    child = both.child_matcher("os", "path")
    assert child is not None and child.use == {"exists"} and both.access == {"random"}
    assert both.with_child_unrestricted("os", "path").child_matcher("os", "path") is None
    assert issubclass(RestrictedWorkflowAccessError, workflow.NondeterminismError)
