"""`Client`: the front door for everything outside workflows.

Belongs to the event loop it was connected on, and to its process. Needs no `close()` at exit:
its threads are daemons, and what it sent is with Kafka before a call returns.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, cast, overload

from odradek.client.activity_handle import AsyncActivityHandle
from odradek.client.channel import RequestStatistics
from odradek.client.connection import Connection
from odradek.client.encode import seconds_of, workflow_name_and_type
from odradek.client.handle import WorkflowHandle
from odradek.client.impl import ClientImpl
from odradek.client.interceptor import (
    AsyncActivityIDReference,
    CountWorkflowsInput,
    Interceptor,
    ListWorkflowsInput,
    Plugin,
    StartWorkflowInput,
)
from odradek.client.kafka_transport import CONNECT_TIMEOUT_S
from odradek.client.options import ClientConfig, StartOptions
from odradek.client.unsupported import (
    Schedule,
    ScheduleAsyncIterator,
    ScheduleBackfill,
    ScheduleHandle,
    WithStartWorkflowOperation,
    WorkflowUpdateHandle,
    WorkflowUpdateStage,
    schedules_not_supported,
    updates_not_supported,
)
from odradek.client.visibility import WorkflowExecutionAsyncIterator, WorkflowExecutionCount
from odradek.common import (
    HeaderCodecBehavior,
    QueryRejectCondition,
    SearchAttributes,
    TypedSearchAttributes,
    _arg_or_args,
    _arg_unset,
)
from odradek.config import Settings
from odradek.converter import (
    DataConverter,
)
from odradek.service import (
    DnsLoadBalancingConfig,
    GrpcCompression,
    HttpConnectProxyConfig,
    KeepAliveConfig,
    PayloadLimitsConfig,
    RetryConfig,
    TLSConfig,
)

SelfType = TypeVar("SelfType")
ReturnType = TypeVar("ReturnType")
ParamType = TypeVar("ParamType")
Params = ParamSpec("Params")


_PAYLOAD_LIMITS = PayloadLimitsConfig()


class Client:
    """Starts workflows and talks to them. Made by `connect`; `Client(**client.config())` makes a
    changed copy on the same connection.
    """

    @classmethod
    async def connect(
        cls,
        target_host: str | None = None,
        *,
        namespace: str | None = None,
        api_key: str | None = None,
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = [],
        interceptors: Sequence[Interceptor] = [],
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        tls: bool | TLSConfig | None = None,
        retry_config: RetryConfig | None = None,
        keep_alive_config: KeepAliveConfig | None = KeepAliveConfig.default,
        connect_timeout: timedelta | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        identity: str | None = None,
        lazy: bool = False,
        runtime: Any = None,
        http_connect_proxy_config: HttpConnectProxyConfig | None = None,
        dns_load_balancing_config: DnsLoadBalancingConfig | None = None,
        grpc_compression: GrpcCompression = GrpcCompression.GZIP,
        payload_limits: PayloadLimitsConfig = _PAYLOAD_LIMITS,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
        settings: Settings | None = None,
        create_topics: bool | None = None,
    ) -> Self:
        """Connect to Kafka.

        Keywords are Temporal's. Those about gRPC alone (`retry_config`, `keep_alive_config`,
        `dns_load_balancing_config`, `grpc_compression`, `runtime`) are taken and do nothing;
        `api_key` and `rpc_metadata` go with lists and counts to the server that the setting
        `server_address` names, as bearer token and headers, and not to Kafka.

        Args:
            target_host: Bootstrap servers, `host:port[,host:port…]`. None: the setting
            `address`. namespace: Part of every topic's name. None: the setting `namespace`,
            "default" by default. data_converter: Values to payloads and back. interceptors: Wrap
            every call, the first outermost; those that are worker interceptors too are used by
            this client's workers. tls: True or a `TLSConfig`: TLS to the brokers, on top of the
            setting `kafka`. connect_timeout: How long the broker may take to answer here; 5 s by
            default. identity: Who asks, in histories; `pid@host` by default. lazy: Connect with
            the first call instead of here. Such a client cannot be given to a worker. settings:
            All settings; default: environment (`ODRADEK_…`). `target_host`, `namespace` and
            `identity` given here win. create_topics: Create missing topics; None: the setting.

        Raises:
            BrokerUnreachableError: No broker answers, within a few seconds.
            TopicMissingError: A topic is missing and may not be created.
            ConfigurationError: A setting is unknown or wrong.
            ValueError: `connect_timeout` is negative.
        """
        settings = Connection.settings_for(
            target_host,
            settings=settings,
            namespace=namespace,
            identity=identity,
            tls=tls,
            create_topics=create_topics,
            http_connect_proxy_config=http_connect_proxy_config,
        )
        connection = Connection(
            settings,
            lazy=lazy,
            connect_timeout_s=(
                CONNECT_TIMEOUT_S
                if connect_timeout is None
                else seconds_of(connect_timeout, "connect_timeout")
            ),
            api_key=api_key,
            rpc_metadata=rpc_metadata,
            runtime=runtime,
        )

        async def open_connection(connection: Connection) -> Connection:
            if not connection.lazy:
                await connection.open(connection.settings.namespace)
            return connection

        next: Callable[[Connection], Awaitable[Connection]] = open_connection
        for plugin in reversed(plugins):
            next = _through(plugin, next)
        connection = await next(connection)
        return cls(
            connection,
            namespace=connection.settings.namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
        )

    def __init__(
        self,
        service_client: Connection,
        *,
        namespace: str = "default",
        data_converter: DataConverter = DataConverter.default,
        plugins: Sequence[Plugin] = [],
        interceptors: Sequence[Interceptor] = [],
        default_workflow_query_reject_condition: QueryRejectCondition | None = None,
        header_codec_behavior: HeaderCodecBehavior = HeaderCodecBehavior.NO_CODEC,
    ) -> None:
        config = ClientConfig(
            service_client=service_client,
            namespace=namespace,
            data_converter=data_converter,
            plugins=plugins,
            interceptors=interceptors,
            default_workflow_query_reject_condition=default_workflow_query_reject_condition,
            header_codec_behavior=header_codec_behavior,
        )
        self._initial_config = config.copy()
        for plugin in plugins:
            config = cast(ClientConfig, plugin.configure_client(config))
        self._config = config
        connection = config["service_client"]
        self._root = ClientImpl(
            connection,
            config["namespace"],
            config["data_converter"],
            config["header_codec_behavior"],
            config["default_workflow_query_reject_condition"],
        )
        for interceptor in reversed(list(config["interceptors"])):
            self._root.outbound = interceptor.intercept_client(self._root.outbound)

    def config(self, *, active_config: bool = False) -> ClientConfig:
        """What this client was made with (a shallow copy); with `active_config` as its plugins
        changed it.
        """
        config = (self._config if active_config else self._initial_config).copy()
        config["interceptors"] = list(config["interceptors"])
        return config

    def close(self) -> None:
        """Stop the connection's threads; idempotent. Every client of the same connection is
        closed with it. Not needed at exit.
        """
        self.service_client.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """The settings of the connection."""
        return self.service_client.settings

    @property
    def service_client(self) -> Connection:
        """The connection, shared by clients made from each other's `config()`."""
        return self._config["service_client"]

    @property
    def workflow_service(self) -> Any:
        """Temporal's raw gRPC service: there is none."""
        raise NotImplementedError(
            "Odradek has no gRPC service behind its client: use the methods of Client and"
            " WorkflowHandle"
        )

    operator_service = workflow_service
    test_service = workflow_service

    @property
    def namespace(self) -> str:
        """Namespace of every call."""
        return self._config["namespace"]

    @property
    def identity(self) -> str:
        """Who asks, in histories."""
        return self.service_client.identity

    @property
    def data_converter(self) -> DataConverter:
        """Values to payloads and back."""
        return self._config["data_converter"]

    @property
    def rpc_metadata(self) -> Mapping[str, str | bytes]:
        """Headers of lists and counts; Kafka requests carry none."""
        return self.service_client.rpc_metadata

    @rpc_metadata.setter
    def rpc_metadata(self, value: Mapping[str, str | bytes]) -> None:
        self.service_client.rpc_metadata = value

    @property
    def api_key(self) -> str | None:
        """Token for lists and counts, before the setting `server_token`; brokers authenticate by
        the setting `kafka`.
        """
        return self.service_client.api_key

    @api_key.setter
    def api_key(self, value: str | None) -> None:
        self.service_client.api_key = value

    def statistics(self) -> RequestStatistics:
        """Requests waiting, sent, asked again, unmatched replies, smoothed response time in ms."""
        return self._root.channel.statistics()

    # --- start

    @overload
    async def start_workflow(
        self,
        workflow: Callable[[SelfType], Awaitable[ReturnType]],
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...
    @overload
    async def start_workflow(
        self,
        workflow: Callable[[SelfType, ParamType], Awaitable[ReturnType]],
        arg: ParamType,
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...
    @overload
    async def start_workflow(
        self,
        workflow: Callable[Concatenate[SelfType, Params], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[SelfType, ReturnType]: ...
    @overload
    async def start_workflow(
        self,
        workflow: str,
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        id: str,
        task_queue: str,
        result_type: type | None = None,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, Any]: ...
    async def start_workflow(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        id: str,
        task_queue: str,
        result_type: type | None = None,
        stack_level: int = 2,
        **options: Unpack[StartOptions],
    ) -> WorkflowHandle[Any, Any]:
        """Start a workflow; returns once its owner has started it.

        With no owner alive it returns after `rpc_timeout` (10 s by default): the start lies in
        the task queue's log and is applied when a worker comes. If it is refused then,
        `handle.result()` says so.

        Args:
            workflow: Run method of the workflow class, or the workflow type's name. arg, args:
            One argument, or several. id: Workflow id, unique in its task queue. task_queue: Task
            queue of the workers that run it; its topics are created if need be. result_type:
            Type to decode the result as, for a workflow given by name. Without it the result is
            plain JSON. execution_timeout: Longest time of the whole chain of runs (retries,
            continue-as-new). run_timeout: Longest time of one run. task_timeout: Longest time of
            one workflow task. id_reuse_policy: Whether the id of a *closed* run may be used
            again. id_conflict_policy: What to do if the id has an *open* run. UNSPECIFIED: FAIL,
            or USE_EXISTING with `start_signal`. retry_policy: Retries of the whole workflow;
            none by default. cron_schedule: Run again at each of these times. memo: Values shown
            by `describe`. search_attributes: Values that lists can filter by. static_summary,
            static_details: Texts shown by `describe`. start_delay: Wait before the first
            workflow task; a signal ends the wait. start_signal, start_signal_args:
            Signal-with-start: one request that signals the open run, or starts one with the
            signal in
                its first task.
            rpc_timeout: Longest wait for the owner's verdict. Given here, it ends in `RPCError`
            DEADLINE_EXCEEDED while an owner is alive.

        Raises:
            WorkflowAlreadyStartedError: The id is taken.
            RecordTooLargeError: The arguments exceed what a record may hold.
            RPCError: INVALID_ARGUMENT, UNAVAILABLE (no broker), DEADLINE_EXCEEDED.
            TopicMissingError: The queue has no topics and they may not be created.
        """
        return await self._root.outbound.start_workflow(
            _start_input(workflow, arg, args, id, task_queue, result_type, options)
        )

    @overload
    async def execute_workflow(
        self,
        workflow: Callable[[SelfType], Awaitable[ReturnType]],
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...
    @overload
    async def execute_workflow(
        self,
        workflow: Callable[[SelfType, ParamType], Awaitable[ReturnType]],
        arg: ParamType,
        *,
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...
    @overload
    async def execute_workflow(
        self,
        workflow: Callable[Concatenate[SelfType, Params], Awaitable[ReturnType]],
        *,
        args: Sequence[Any],
        id: str,
        task_queue: str,
        **options: Unpack[StartOptions],
    ) -> ReturnType: ...
    @overload
    async def execute_workflow(
        self,
        workflow: str,
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        id: str,
        task_queue: str,
        result_type: type | None = None,
        **options: Unpack[StartOptions],
    ) -> Any: ...
    async def execute_workflow(
        self,
        workflow: str | Callable[..., Awaitable[Any]],
        arg: Any = _arg_unset,
        *,
        args: Sequence[Any] = [],
        id: str,
        task_queue: str,
        result_type: type | None = None,
        **options: Unpack[StartOptions],
    ) -> Any:
        """`start_workflow`, then `result()`: the workflow's result, decoded as its run method
        says. Arguments and errors are those of the two.

        Without interceptors it is one request. It waits as long as the workflow takes, over
        restarts of its owners.
        """
        input = _start_input(workflow, arg, args, id, task_queue, result_type, options)
        if self._root.outbound is self._root:
            return await self._root.execute_workflow(input)
        return await (await self._root.outbound.start_workflow(input)).result()

    # --- handles

    def get_workflow_handle(
        self,
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        result_type: type | None = None,
        task_queue: str | None = None,
    ) -> WorkflowHandle[Any, Any]:
        """A handle of a workflow by its id. Asks nothing.

        `task_queue` (Odradek's own) names the queue that it was started on; without it the
        client uses the queue it used for that id, or asks all queues of the namespace with the
        first call.
        """
        return WorkflowHandle(
            self._root,
            workflow_id,
            run_id=run_id,
            result_run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=result_type,
            task_queue=task_queue,
        )

    def get_workflow_handle_for(
        self,
        workflow: Callable[Concatenate[SelfType, Params], Awaitable[ReturnType]],
        workflow_id: str,
        *,
        run_id: str | None = None,
        first_execution_run_id: str | None = None,
        task_queue: str | None = None,
    ) -> WorkflowHandle[SelfType, ReturnType]:
        """As `get_workflow_handle`, typed by the workflow's run method."""
        return self.get_workflow_handle(
            workflow_id,
            run_id=run_id,
            first_execution_run_id=first_execution_run_id,
            result_type=workflow_name_and_type(workflow)[1],
            task_queue=task_queue,
        )

    def get_async_activity_handle(
        self,
        *,
        workflow_id: str | None = None,
        run_id: str | None = None,
        activity_id: str | None = None,
        task_token: bytes | None = None,
    ) -> AsyncActivityHandle:
        """A handle of an activity completed from outside, by `activity.info().task_token` or by
        its ids, not both.
        """
        if task_token is not None:
            if workflow_id is not None or run_id is not None or activity_id is not None:
                raise ValueError("Task token cannot be present with other IDs")
            return AsyncActivityHandle(self._root, task_token)
        if activity_id is None:
            raise ValueError("Task token or activity ID must be present")
        return AsyncActivityHandle(
            self._root,
            AsyncActivityIDReference(
                workflow_id=workflow_id, run_id=run_id, activity_id=activity_id
            ),
        )

    # --- lists: the read side answers them

    def list_workflows(
        self,
        query: str | None = None,
        *,
        limit: int | None = None,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionAsyncIterator:
        """Workflows that match a query, latest start first unless it has an ORDER BY. Answered
        by `odradek server`, which the setting `server_address` names; it may be a moment behind.

        Args:
            query: What `docs/query.md` describes, such as `WorkflowType = 'Order' AND
            ExecutionStatus = 'Running'`. None: all. limit: How many at most, over all pages.
            page_size: How many a page; the server gives 1,000 at most. next_page_token: Where an
            earlier iterator's `next_page_token` left off; it belongs to its query.

        Raises, with the first `__anext__` or `fetch_next_page`:
            RPCError: UNAVAILABLE without a server; INVALID_ARGUMENT for a wrong query, with the
            column at which it is wrong;
                UNAUTHENTICATED when the server wants a token (setting `server_token`, or
                `api_key`).
        """
        return self._root.outbound.list_workflows(
            ListWorkflowsInput(
                query=query,
                page_size=page_size,
                next_page_token=next_page_token,
                rpc_metadata=rpc_metadata,
                rpc_timeout=rpc_timeout,
                limit=limit,
            )
        )

    async def count_workflows(
        self,
        query: str | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> WorkflowExecutionCount:
        """Count of the workflows that match a query, with groups if it has a GROUP BY. Errors
        are those of `list_workflows`.
        """
        return await self._root.outbound.count_workflows(
            CountWorkflowsInput(query=query, rpc_metadata=rpc_metadata, rpc_timeout=rpc_timeout)
        )

    # --- not supported yet

    async def execute_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = _arg_unset,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any],
        **_: Any,
    ) -> Any:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        raise updates_not_supported()

    async def start_update_with_start_workflow(
        self,
        update: str | Callable[..., Any],
        arg: Any = _arg_unset,
        *,
        start_workflow_operation: WithStartWorkflowOperation[Any],
        wait_for_stage: WorkflowUpdateStage,
        **_: Any,
    ) -> WorkflowUpdateHandle[Any]:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        raise updates_not_supported()

    async def create_schedule(
        self,
        id: str,
        schedule: Schedule,
        *,
        trigger_immediately: bool = False,
        backfill: Sequence[ScheduleBackfill] = [],
        memo: Mapping[str, Any] | None = None,
        search_attributes: SearchAttributes | TypedSearchAttributes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ScheduleHandle:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        raise schedules_not_supported()

    def get_schedule_handle(self, id: str) -> ScheduleHandle:
        """A handle whose calls are not supported yet."""
        return ScheduleHandle(id)

    async def list_schedules(
        self,
        query: str | None = None,
        *,
        page_size: int = 1000,
        next_page_token: bytes | None = None,
        rpc_metadata: Mapping[str, str | bytes] = {},
        rpc_timeout: timedelta | None = None,
    ) -> ScheduleAsyncIterator:
        """Not supported yet: `RPCError` UNIMPLEMENTED."""
        raise schedules_not_supported()


def _start_input(
    workflow: str | Callable[..., Awaitable[Any]],
    arg: Any,
    args: Sequence[Any],
    id: str,
    task_queue: str,
    result_type: type | None,
    options: StartOptions,
) -> StartWorkflowInput:
    """Raises TypeError for an option that is none."""
    name, ret_type = workflow_name_and_type(workflow)
    return StartWorkflowInput(
        workflow=name,
        args=_arg_or_args(arg, args),
        id=id,
        task_queue=task_queue,
        ret_type=result_type or ret_type,
        **options,
    )


def _through(
    plugin: Plugin, next: Callable[[Connection], Awaitable[Connection]]
) -> Callable[[Connection], Awaitable[Connection]]:
    """`next` as seen through a plugin."""

    async def connect(connection: Connection) -> Connection:
        return cast(Connection, await plugin.connect_service_client(connection, next))

    return connect
