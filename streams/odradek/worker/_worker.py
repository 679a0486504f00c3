"""`Worker`: runs the workflows and activities of one task queue in this process.

Holds the life of its two hosts: start together, end together, and by the first fatal error of
either. Several workers may run in one process and one event loop.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Self

from odradek.activation import Interceptor
from odradek.activities import ActivityHost
from odradek.client import Client
from odradek.common import VersioningBehavior
from odradek.exceptions import OdradekError
from odradek.processor import Processor
from odradek.weak_method import weak_method
from odradek.wire.topics import Topics
from odradek.worker._checks import check_values
from odradek.worker._config import WorkerConfig, WorkerDeploymentConfig
from odradek.worker._hosts import make_activity_host, make_processor, settings_of
from odradek.worker._plugin import Plugin
from odradek.worker._runner import UnsandboxedWorkflowRunner, WorkflowRunner
from odradek.worker._telemetry import telemetry_of
from odradek.worker._tuning import PollerBehavior, PollerBehaviorSimpleMaximum, WorkerTuner
from odradek.worker.workflow_sandbox import SandboxedWorkflowRunner

logger = logging.getLogger("odradek.worker")

_SANDBOXED = SandboxedWorkflowRunner()
_UNSANDBOXED = UnsandboxedWorkflowRunner()
_POLLERS = PollerBehaviorSimpleMaximum()

#: Those that run: asyncio holds tasks weakly, and a worker whose task nobody keeps, as of a
#: start-up function, serves all the same.
_running: set[Worker] = set()


class Worker:
    """A worker. `async with Worker(client, task_queue=…, workflows=[…], activities=[…]):`, or
    `run` and `shutdown`.
    """

    def __init__(
        self,
        client: Client,
        *,
        task_queue: str,
        activities: Sequence[Callable[..., Any]] = [],
        nexus_service_handlers: Sequence[Any] = [],
        workflows: Sequence[type] = [],
        activity_executor: Executor | None = None,
        workflow_task_executor: ThreadPoolExecutor | None = None,
        nexus_task_executor: ThreadPoolExecutor | None = None,
        workflow_runner: WorkflowRunner = _SANDBOXED,
        unsandboxed_workflow_runner: WorkflowRunner = _UNSANDBOXED,
        plugins: Sequence[Plugin] = [],
        interceptors: Sequence[Interceptor] = [],
        build_id: str | None = None,
        identity: str | None = None,
        max_cached_workflows: int | None = None,
        max_concurrent_workflow_tasks: int | None = None,
        max_concurrent_activities: int | None = None,
        max_concurrent_local_activities: int | None = None,
        max_concurrent_nexus_tasks: int | None = None,
        tuner: WorkerTuner | None = None,
        max_concurrent_workflow_task_polls: int | None = None,
        nonsticky_to_sticky_poll_ratio: float = 0.2,
        max_concurrent_activity_task_polls: int | None = None,
        no_remote_activities: bool = False,
        sticky_queue_schedule_to_start_timeout: timedelta = timedelta(seconds=10),
        max_heartbeat_throttle_interval: timedelta = timedelta(seconds=60),
        default_heartbeat_throttle_interval: timedelta = timedelta(seconds=30),
        max_activities_per_second: float | None = None,
        max_task_queue_activities_per_second: float | None = None,
        max_eager_activity_reservations_per_workflow_task: int = 3,
        graceful_shutdown_timeout: timedelta | None = None,
        plugin_shutdown_timeout: timedelta | None = timedelta(seconds=60),
        workflow_failure_exception_types: Sequence[type[BaseException]] = [],
        shared_state_manager: Any = None,
        debug_mode: bool = False,
        disable_eager_activity_execution: bool = False,
        on_fatal_error: Callable[[BaseException], Awaitable[None]] | None = None,
        use_worker_versioning: bool = False,
        disable_safe_workflow_eviction: bool = False,
        deployment_config: WorkerDeploymentConfig | None = None,
        patch_activation_callback: Callable[[Any], bool] | None = None,
        workflow_task_poller_behavior: PollerBehavior = _POLLERS,
        activity_task_poller_behavior: PollerBehavior = _POLLERS,
        nexus_task_poller_behavior: PollerBehavior = _POLLERS,
        disable_payload_error_limit: bool = False,
        max_workflow_task_external_storage_concurrency: int = 3,
    ) -> None:
        """Make a worker; nothing is opened before `run`. Keywords not named here are Temporal's,
        taken as hints.

        Args:
            client: Gives the settings, the namespace, the data converter, and those of its
            interceptors that are worker interceptors. task_queue: Whose workflows and activities
            are run. activities: Functions decorated with `@activity.defn`. workflows: Classes
            decorated with `@workflow.defn`. activity_executor: A ThreadPoolExecutor for
            activities that are not async. interceptors: Around workflows and activities, the
            first outermost, after those of the client. identity: Name of this worker in
            histories; the client's by default. max_cached_workflows: Live workflows kept in
            memory, each partition; 0 replays a workflow for each of its tasks.
                The setting of the same name by default.
            max_concurrent_activities: Activities at a time; the setting of the same name by
            default. max_activities_per_second: Activities started a second, by this worker.
            no_remote_activities: Workflows only, whatever `activities` holds.
            graceful_shutdown_timeout: Time that running activities get before they are
            cancelled; the setting of that name by default. workflow_failure_exception_types:
            Exceptions that fail a workflow instead of its task. debug_mode: No watchdog over
            workflow code. on_fatal_error: Awaited before the shutdown that a fatal error causes.

        Raises:
            ValueError, TypeError: Nothing is registered, a name stands twice, an activity or
            workflow cannot be registered; the task
                queue is empty or too long for a topic's name; a number or duration is out of its
                range.
        """
        config: WorkerConfig = {
            key: value for key, value in locals().items() if key in WorkerConfig.__annotations__
        }  # type: ignore[assignment] # its keys are the keywords above
        from_client: list[Plugin] = [
            plugin for plugin in client.config()["plugins"] if isinstance(plugin, Plugin)
        ]
        for plugin in from_client:
            if type(plugin) in map(type, plugins):
                warnings.warn(
                    f"The same plugin type {type(plugin)} is present from both client and worker."
                    " It may run twice and may not be the intended behavior.",
                    stacklevel=2,
                )
        self._initial_config = config.copy()
        self._plugins = [*from_client, *plugins]
        for plugin in self._plugins:
            config = plugin.configure_worker(config)
        self._config = config
        _check(config)
        self._make_hosts()
        self._started = False
        self._shutdown_event = asyncio.Event()
        self._shutdown_complete = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fatal: asyncio.Future[BaseException] | None = (
            None  # told by a host, before it has ended
        )
        self._inner_task: asyncio.Task[Any] | None = None
        self._run_task: asyncio.Task[None] | None = None
        self._run_error: BaseException | None = None
        self._exiting = False

    def _make_hosts(self) -> None:
        config, client = self._config, self._config["client"]
        if client.service_client.lazy:
            raise RuntimeError("Lazy clients cannot be used for workers")
        from_client = [
            found
            for found in client.config(active_config=True)["interceptors"]
            if isinstance(found, Interceptor)
        ]
        interceptors = [*from_client, *config["interceptors"]]
        settings = self._settings = settings_of(client, config)
        Topics(settings.namespace, settings.topic_prefix).dead_letters(
            config["task_queue"]
        )  # the longest name: raises TopicNameError
        self._activity_host: ActivityHost | None = None
        self._processor: Processor | None = None
        if config.get("activities") and not config.get("no_remote_activities"):
            self._activity_host = make_activity_host(
                settings, client, config, interceptors, weak_method(self._host_failed)
            )
        if config.get("workflows"):
            self._processor = make_processor(
                settings, client, config, interceptors, weak_method(self._host_failed)
            )

    # --- what it is

    def config(self, *, active_config: bool = False) -> WorkerConfig:
        """What this worker was made with (a shallow copy); with `active_config` as its plugins
        changed it.
        """
        config = (self._config if active_config else self._initial_config).copy()
        config["activities"] = list(config.get("activities", []))
        config["workflows"] = list(config.get("workflows", []))
        return config

    @property
    def task_queue(self) -> str:
        """The task queue."""
        return self._config["task_queue"]

    @property
    def client(self) -> Client:
        """The client. Setting another one changes what `activity.client()` gives; the connection
        to Kafka stays.
        """
        return self._config["client"]

    @client.setter
    def client(self, value: Client) -> None:
        self._config["client"] = value
        if self._activity_host is not None:
            self._activity_host.set_client(value)

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._started and not self.is_shutdown

    @property
    def is_shutdown(self) -> bool:
        """Whether it has run and ended."""
        return self._shutdown_complete.is_set()

    # --- its life

    async def run(self) -> None:
        """Run until `shutdown`, or until this call is cancelled. Returns when every activity has
        ended. Raises a fatal error.
        """
        next: Callable[[Worker], Awaitable[None]] = Worker._run
        for plugin in reversed(self._plugins):
            next = _through(plugin, next)
        await next(self)

    async def _run(self) -> None:
        if self._started:
            raise RuntimeError("Already started")
        self._started = True
        self._loop = asyncio.get_running_loop()
        self._fatal = self._loop.create_future()
        _running.add(self)
        try:
            with telemetry_of(self._settings, self._processor, self._activity_host):
                await self._serve()
        finally:
            _running.discard(self)

    async def _serve(self) -> None:
        assert self._fatal is not None
        shutdown = asyncio.create_task(self._shutdown_event.wait())
        hosts = [asyncio.create_task(host) for host in self._host_runs()]
        error: BaseException | None = None
        try:
            watched: list[asyncio.Future[Any]] = [shutdown, self._fatal, *hosts]
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
            error = self._first_error(hosts)
            if error is not None:
                if isinstance(
                    error, OdradekError
                ):  # says what is wrong and what to do; where it was raised says nothing
                    logger.error("Worker failed, shutting down: %s", error)
                else:
                    logger.error("Worker failed, shutting down", exc_info=error)
                await self._tell_fatal(error)
        except asyncio.CancelledError as cancelled:
            logger.info("Worker cancelled, shutting down")
            error = cancelled
        shutdown.cancel()
        try:
            await self._end(hosts)
        finally:
            self._shutdown_complete.set()
        if error is None:
            error = self._first_error(hosts)
        if error is not None:
            raise error

    def _host_runs(self) -> list[Any]:
        runs: list[Any] = []
        if self._processor is not None:
            runs.append(self._run_processor(self._processor))
        if self._activity_host is not None:
            runs.append(self._activity_host.run())
        return runs

    async def _run_processor(self, processor: Processor) -> None:
        """Ends with the worker's shutdown; the processor lives on threads of its own."""
        await asyncio.to_thread(processor.start)
        try:
            await self._shutdown_event.wait()
        finally:
            await asyncio.to_thread(processor.stop)

    def _host_failed(self, error: BaseException) -> None:
        """Called on any thread: the processor's, or the event loop's by the activity host, whose
        `run` ends with its last activity.
        """
        assert self._loop is not None

        def fail() -> None:
            if self._fatal is not None and not self._fatal.done():
                self._fatal.set_result(error)

        try:
            self._loop.call_soon_threadsafe(fail)
        except RuntimeError:
            logger.error("the processor failed after its event loop was closed: %s", error)

    def _first_error(self, hosts: Sequence[asyncio.Task[Any]]) -> BaseException | None:
        assert self._fatal is not None
        for ended in hosts:
            if ended.done() and not ended.cancelled() and (error := ended.exception()) is not None:
                return error
        return self._fatal.result() if self._fatal.done() else None

    async def _tell_fatal(self, error: BaseException) -> None:
        handler = self._config.get("on_fatal_error")
        if handler is not None:
            try:
                await handler(error)
            except Exception:
                logger.warning("Fatal error handler failed", exc_info=True)

    async def _end(self, hosts: Sequence[asyncio.Task[Any]]) -> None:
        """Drain both hosts beside each other, and wait for them."""
        self._shutdown_event.set()
        if self._activity_host is not None:
            self._activity_host.notify_shutdown()
            await self._activity_host.shutdown()
        await asyncio.gather(*hosts, return_exceptions=True)

    async def shutdown(self) -> None:
        """Begin the shutdown and wait until it is complete. Safe to repeat; before `run` it
        makes that run end at once.
        """
        self._shutdown_event.set()
        await self._shutdown_complete.wait()

    async def __aenter__(self) -> Self:
        """Start. A fatal error cancels the task that is inside the block, and is raised where
        the block ends.
        """
        if self._inner_task is not None:
            raise RuntimeError("Already started")
        self._inner_task = asyncio.current_task()
        if self._inner_task is None:
            raise RuntimeError("Can only use async with inside a task")
        self._run_task = asyncio.create_task(self._run_inside())
        return self

    async def _run_inside(self) -> None:
        try:
            await self.run()
        except BaseException as error:
            self._run_error = error
            self._shutdown_complete.set()  # also when a plugin failed before the worker began
            if not self._exiting and self._inner_task is not None:
                self._inner_task.cancel()

    async def __aexit__(self, exc_type: type[BaseException] | None, *args: object) -> None:
        """Shut down; raise the fatal error if it was what cancelled the block."""
        if self._run_task is None:
            raise RuntimeError("Never started")
        await self.shutdown()
        self._exiting = True
        timeout = self._config.get("plugin_shutdown_timeout", timedelta(seconds=60))
        try:
            await asyncio.wait(
                [self._run_task], timeout=timeout.total_seconds() if timeout else None
            )
        except asyncio.CancelledError:
            self._run_task.cancel()
            raise
        self._run_task.cancel()
        if exc_type is asyncio.CancelledError and self._run_error is not None:
            raise self._run_error


def _through(
    plugin: Plugin, next: Callable[[Worker], Awaitable[None]]
) -> Callable[[Worker], Awaitable[None]]:
    return lambda worker: plugin.run_worker(worker, next)


def _check(config: WorkerConfig) -> None:
    if not (
        config.get("activities") or config.get("nexus_service_handlers") or config.get("workflows")
    ):
        raise ValueError("At least one activity, Nexus service, or workflow must be specified")
    if config.get("nexus_service_handlers"):
        raise ValueError("Odradek runs no Nexus services: leave nexus_service_handlers away")
    if config.get("use_worker_versioning") and not config.get("build_id"):
        raise ValueError("build_id must be specified when use_worker_versioning is True")
    deployment = config.get("deployment_config")
    if deployment is not None:
        if config.get("build_id") or config.get("use_worker_versioning"):
            raise ValueError(
                "deployment_config cannot be used with build_id or use_worker_versioning"
            )
        if (
            not deployment.use_worker_versioning
            and deployment.default_versioning_behavior != VersioningBehavior.UNSPECIFIED
        ):
            raise ValueError(
                "default_versioning_behavior must be UNSPECIFIED when use_worker_versioning is"
                " False"
            )
    if config.get("max_eager_activity_reservations_per_workflow_task", 3) < 1:
        raise ValueError(
            "max_eager_activity_reservations_per_workflow_task must be positive; "
            "use disable_eager_activity_execution=True to disable eager activity execution"
        )
    check_values(config)
