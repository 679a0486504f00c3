"""OpenTelemetry traces over client, workflow and activity, by interceptors: names and meaning of
Temporal's `contrib.opentelemetry`.

    client = await Client.connect("localhost:9092", interceptors=[TracingInterceptor()])     #
    workers take it from their client

    StartWorkflow:X ─┬─ RunWorkflow:X                      each process adds its own spans; the
    context travels in the payload (client)         ├─ StartActivity:Y ── RunActivity:Y   header
    `_tracer-data`, and is repeated as W3C `traceparent` in the record's
                     ├─ HandleSignal:S ┄┄▷ SignalWorkflow:S   headers, so that foreign services
                     and producers belong to the trace too └─ CompleteWorkflow:X

Spans of workflow code are made and ended at once, at the workflow's time: a run may live for
weeks, over many owners. None is made at replay, so a run that is brought back adds nothing, and
nothing that was committed is traced twice; a task whose owner died before its commit is done,
and traced, again. After a replay the spans of a run go on under the span that started it.

Needs the extra `opentelemetry`. Set a tracer provider up before, or give a tracer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from odradek import activity, client, worker, workflow
from odradek.client.interceptor import (
    QueryWorkflowInput,
    SignalWorkflowInput,
    StartWorkflowInput,
    StartWorkflowUpdateInput,
)
from odradek.converter import PayloadConverter
from odradek.exceptions import ApplicationError, ApplicationErrorCategory, FailureError
from odradek.wire.payload import Payload
from odradek.wire.tracing import TRACER_DATA

__all__ = ["TracingInterceptor", "TracingWorkflowInboundInterceptor", "default_text_map_propagator"]

default_text_map_propagator: TextMapPropagator = CompositePropagator(
    [TraceContextTextMapPropagator(), W3CBaggagePropagator()]
)
"""W3C trace context and baggage."""

_COMPLETED_SPAN = "__odradek_completed_span"

Carrier = dict[str, str]


class _WithHeaders(Protocol):
    headers: Mapping[str, Payload]


@dataclass(frozen=True)
class _SpanRequest:
    """What workflow code asks for. `parent`: the context that it runs in."""

    name: str
    kind: SpanKind
    parent: Context
    attributes: Mapping[str, str]
    time_ns: int
    link: Carrier | None = None
    exception: Exception | None = None


class TracingInterceptor(client.Interceptor, worker.Interceptor):
    """Give it to `Client.connect(interceptors=...)`, which serves the client's workers too, or
    to a worker alone.

    Another header, propagator or payload converter: subclass this and
    TracingWorkflowInboundInterceptor, as in Temporal's SDK.
    """

    def __init__(
        self, tracer: Tracer | None = None, *, always_create_workflow_spans: bool = False
    ) -> None:
        """tracer: default is the global provider's.

        always_create_workflow_spans: also where no span started the workflow. Such spans have no
        parent that a replay could find again, so one run may end up in several traces.
        """
        self.tracer = tracer or trace.get_tracer(__name__)
        self.header_key = TRACER_DATA
        self.text_map_propagator = default_text_map_propagator
        self.payload_converter = PayloadConverter.default
        self._always_create_workflow_spans = always_create_workflow_spans

    def intercept_client(self, next: client.OutboundInterceptor) -> client.OutboundInterceptor:
        """See `client.Interceptor`."""
        return _ClientOutbound(next, self)

    def intercept_activity(self, next: Any) -> Any:
        """See `worker.Interceptor`."""
        return _ActivityInbound(next, self)

    def workflow_interceptor_class(
        self, input: worker.WorkflowInterceptorClassInput
    ) -> type[worker.WorkflowInboundInterceptor] | None:
        """See `worker.Interceptor`."""
        input.unsafe_extern_functions[_COMPLETED_SPAN] = self._completed_span
        return TracingWorkflowInboundInterceptor

    def _inject(self, headers: Mapping[str, Payload]) -> Mapping[str, Payload]:
        carrier: Carrier = {}
        self.text_map_propagator.inject(carrier)
        return (
            {**headers, self.header_key: self.payload_converter.to_payloads([carrier])[0]}
            if carrier
            else headers
        )

    def _extract(self, headers: Mapping[str, Payload]) -> Context | None:
        carrier = _carrier_of(headers, self.header_key, self.payload_converter)
        return self.text_map_propagator.extract(carrier) if carrier else None

    @contextmanager
    def _span(
        self,
        name: str,
        kind: SpanKind,
        attributes: Mapping[str, str],
        *,
        outgoing: _WithHeaders | None = None,
        parent: Context | None = None,
    ) -> Iterator[None]:
        """A span around a call that this process makes or serves."""
        token = otel_context.attach(parent) if parent is not None else None
        try:
            with self.tracer.start_as_current_span(
                name, kind=kind, attributes=dict(attributes), set_status_on_exception=False
            ) as span:
                if outgoing is not None:
                    outgoing.headers = self._inject(outgoing.headers)
                try:
                    yield
                except Exception as error:
                    if (
                        not isinstance(error, ApplicationError)
                        or error.category != ApplicationErrorCategory.BENIGN
                    ):
                        span.set_status(
                            Status(StatusCode.ERROR, f"{type(error).__name__}: {error}")
                        )
                    raise
        finally:
            if token is not None:
                otel_context.detach(token)

    def _completed_span(self, request: _SpanRequest) -> Context | None:
        """Make and end a span of workflow code; the context with it, or None where none is wanted."""
        if (
            not trace.get_current_span(request.parent).get_span_context().is_valid
            and not self._always_create_workflow_spans
        ):
            return None
        links = []
        if request.link:
            linked = trace.get_current_span(
                self.text_map_propagator.extract(request.link)
            ).get_span_context()
            links = [Link(linked)] if linked.is_valid else []
        span = self.tracer.start_span(
            request.name,
            context=request.parent,
            kind=request.kind,
            attributes=dict(request.attributes),
            links=links,
            start_time=request.time_ns,
        )
        if request.exception is not None:
            span.record_exception(request.exception, timestamp=request.time_ns)
            if (
                not isinstance(request.exception, ApplicationError)
                or request.exception.category != ApplicationErrorCategory.BENIGN
            ):
                span.set_status(
                    Status(
                        StatusCode.ERROR, f"{type(request.exception).__name__}: {request.exception}"
                    )
                )
        span.end(end_time=request.time_ns)
        return trace.set_span_in_context(span, request.parent)


def _carrier_of(
    headers: Mapping[str, Payload], key: str, converter: PayloadConverter
) -> Carrier | None:
    payload = headers.get(key)
    if payload is None:
        return None
    try:
        carrier = converter.from_payloads([payload])[0]
    except Exception:  # encrypted by a codec, or damaged: no call fails over its trace
        return None
    if not isinstance(carrier, dict):
        return None
    return {name: value for name, value in carrier.items() if isinstance(value, str)} or None


class _ClientOutbound(client.OutboundInterceptor):
    def __init__(self, next: client.OutboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def start_workflow(self, input: StartWorkflowInput) -> Any:
        prefix = "SignalWithStartWorkflow" if input.start_signal else "StartWorkflow"
        with self._root._span(
            f"{prefix}:{input.workflow}",
            SpanKind.CLIENT,
            {"temporalWorkflowID": input.id},
            outgoing=input,
        ):
            return await super().start_workflow(input)

    async def query_workflow(self, input: QueryWorkflowInput) -> Any:
        with self._root._span(
            f"QueryWorkflow:{input.query}",
            SpanKind.CLIENT,
            {"temporalWorkflowID": input.id},
            outgoing=input,
        ):
            return await super().query_workflow(input)

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:
        with self._root._span(
            f"SignalWorkflow:{input.signal}",
            SpanKind.CLIENT,
            {"temporalWorkflowID": input.id},
            outgoing=input,
        ):
            await super().signal_workflow(input)

    async def start_workflow_update(self, input: StartWorkflowUpdateInput) -> Any:
        with self._root._span(
            f"StartWorkflowUpdate:{input.update}",
            SpanKind.CLIENT,
            {"temporalWorkflowID": input.id},
            outgoing=input,
        ):
            return await super().start_workflow_update(input)


class _ActivityInbound(worker.ActivityInboundInterceptor):
    def __init__(self, next: worker.ActivityInboundInterceptor, root: TracingInterceptor) -> None:
        super().__init__(next)
        self._root = root

    async def execute_activity(self, input: worker.ExecuteActivityInput) -> Any:
        info = activity.info()
        ids = {
            "temporalActivityID": info.activity_id,
            "temporalWorkflowID": info.workflow_id,
            "temporalRunID": info.workflow_run_id,
        }
        attributes = {name: value for name, value in ids.items() if value}
        with self._root._span(
            f"RunActivity:{info.activity_type}",
            SpanKind.SERVER,
            attributes,
            parent=self._root._extract(input.headers) or Context(),
        ):
            return await super().execute_activity(input)


class TracingWorkflowInboundInterceptor(worker.WorkflowInboundInterceptor):
    """Spans of one run. See TracingInterceptor."""

    def __init__(self, next: worker.WorkflowInboundInterceptor) -> None:
        super().__init__(next)
        self._make_span: Callable[[_SpanRequest], Context | None] = workflow.extern_functions()[
            _COMPLETED_SPAN
        ]
        self.header_key = TRACER_DATA
        self.text_map_propagator = default_text_map_propagator
        self.payload_converter = PayloadConverter.default

    def init(self, outbound: worker.WorkflowOutboundInterceptor) -> None:
        """See `WorkflowInboundInterceptor.init`."""
        super().init(_WorkflowOutbound(outbound, self))

    async def execute_workflow(self, input: worker.ExecuteWorkflowInput) -> Any:
        """RunWorkflow at the first task, CompleteWorkflow at the end."""
        with self._inside(ends=True):
            self.completed_span(f"RunWorkflow:{workflow.info().workflow_type}", SpanKind.SERVER)
            return await super().execute_workflow(input)

    async def handle_signal(self, input: worker.HandleSignalInput) -> None:
        """HandleSignal in the run's trace, linked to the span that sent the signal."""
        with self._inside():
            self.completed_span(
                f"HandleSignal:{input.signal}", SpanKind.SERVER, link=self._carrier(input.headers)
            )
            await super().handle_signal(input)

    async def handle_query(self, input: worker.HandleQueryInput) -> Any:
        """HandleQuery in the asker's trace, linked to the run's. Also after a replay: the
        question is new.
        """
        carrier = self._carrier(input.headers)
        parent = self.text_map_propagator.extract(carrier) if carrier else Context()
        with _attached(parent):
            link = self._carrier(workflow.info().headers)
            self.completed_span(
                f"HandleQuery:{input.query}", SpanKind.SERVER, link=link, at_replay=True
            )
            return await super().handle_query(input)

    def handle_update_validator(self, input: worker.HandleUpdateInput) -> None:
        """ValidateUpdate, linked to the span that sent the update."""
        with self._inside():
            self.completed_span(
                f"ValidateUpdate:{input.update}", SpanKind.SERVER, link=self._carrier(input.headers)
            )
            super().handle_update_validator(input)

    async def handle_update_handler(self, input: worker.HandleUpdateInput) -> Any:
        """HandleUpdate, linked to the span that sent the update."""
        with self._inside():
            self.completed_span(
                f"HandleUpdate:{input.update}", SpanKind.SERVER, link=self._carrier(input.headers)
            )
            return await super().handle_update_handler(input)

    def completed_span(
        self,
        name: str,
        kind: SpanKind,
        *,
        link: Carrier | None = None,
        outgoing: _WithHeaders | None = None,
        at_replay: bool = False,
        exception: Exception | None = None,
    ) -> None:
        """A span of workflow code, made and ended at the workflow's time, and carried by
        `outgoing`. At replay the context that it had then is unknown, and what goes out has gone
        out before: nothing is done.
        """
        if workflow.unsafe.is_replaying() and not at_replay:
            return
        info = workflow.info()
        attributes = {"temporalWorkflowID": info.workflow_id, "temporalRunID": info.run_id}
        request = _SpanRequest(
            name, kind, otel_context.get_current(), attributes, workflow.time_ns(), link, exception
        )
        context = self._make_span(request)
        if outgoing is not None and context is not None:
            outgoing.headers = self.with_context(outgoing.headers, context)

    def with_context(
        self, headers: Mapping[str, Payload], context: Context | None = None
    ) -> Mapping[str, Payload]:
        """Headers that carry a context, the current one by default."""
        carrier: Carrier = {}
        self.text_map_propagator.inject(carrier, context)
        return (
            {**headers, self.header_key: self.payload_converter.to_payloads([carrier])[0]}
            if carrier
            else headers
        )

    def _carrier(self, headers: Mapping[str, Payload]) -> Carrier | None:
        return _carrier_of(headers, self.header_key, self.payload_converter)

    @contextmanager
    def _inside(self, *, ends: bool = False) -> Iterator[None]:
        """The run's context: that of the span which started it, the same after every replay.
        ends: returning closes the workflow.
        """
        carrier = self._carrier(workflow.info().headers)
        with _attached(self.text_map_propagator.extract(carrier) if carrier else Context()):
            try:
                yield
            except FailureError as error:  # what closes a workflow, from a handler too
                self._complete(error)
                raise
            if ends:
                self._complete(None)

    def _complete(self, error: Exception | None) -> None:
        self.completed_span(
            f"CompleteWorkflow:{workflow.info().workflow_type}", SpanKind.INTERNAL, exception=error
        )


@contextmanager
def _attached(context: Context) -> Iterator[None]:
    """As the current context, until the coroutine ends, wherever that happens: an evicted run is
    closed outside of its own context.
    """
    token = otel_context.attach(context)
    try:
        yield
    finally:
        if otel_context.get_current() is context:
            otel_context.detach(token)


class _WorkflowOutbound(worker.WorkflowOutboundInterceptor):
    def __init__(
        self, next: worker.WorkflowOutboundInterceptor, inbound: TracingWorkflowInboundInterceptor
    ) -> None:
        super().__init__(next)
        self._inbound = inbound

    def continue_as_new(self, input: worker.ContinueAsNewInput) -> NoReturn:
        input.headers = self._inbound.with_context(input.headers)
        super().continue_as_new(input)

    def start_activity(self, input: worker.StartActivityInput) -> Any:
        self._inbound.completed_span(
            f"StartActivity:{input.activity}", SpanKind.CLIENT, outgoing=input
        )
        return super().start_activity(input)

    def start_local_activity(self, input: Any) -> Any:
        self._inbound.completed_span(
            f"StartActivity:{input.activity}", SpanKind.CLIENT, outgoing=input
        )
        return super().start_local_activity(input)

    async def start_child_workflow(self, input: Any) -> Any:
        self._inbound.completed_span(
            f"StartChildWorkflow:{input.workflow}", SpanKind.CLIENT, outgoing=input
        )
        return await super().start_child_workflow(input)

    async def signal_child_workflow(self, input: Any) -> None:
        self._inbound.completed_span(
            f"SignalChildWorkflow:{input.signal}", SpanKind.SERVER, outgoing=input
        )
        await super().signal_child_workflow(input)

    async def signal_external_workflow(self, input: Any) -> None:
        self._inbound.completed_span(
            f"SignalExternalWorkflow:{input.signal}", SpanKind.CLIENT, outgoing=input
        )
        await super().signal_external_workflow(input)
