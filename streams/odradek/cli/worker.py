"""`odradek worker`: workflows and activities of a module, in one process or several."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import inspect
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from odradek.cli.app import Commands, add_command
from odradek.cli.common import POSITIVE, cluster_options, settings_of
from odradek.cli.logs import log_as_set
from odradek.cli.status import SERVING, Status, UsageError, status_of
from odradek.config import Settings
from odradek.converter import DataConverter
from odradek.exceptions import OdradekError

if TYPE_CHECKING:
    from odradek.processor.ending import Ending
    from odradek.processor.supervisor import Parent

logger = logging.getLogger("odradek.cli.worker")

AFTER_GRACE_SECONDS = 5.0

EXAMPLES = """examples:
  odradek worker shop.workflows:WORKFLOWS --task-queue orders --processes 2
  odradek worker shop.workflows --activities shop.activities --task-queue orders
  odradek worker --activities stock:ACTIVITIES --task-queue inventory --config stock.yaml
  odradek worker shop.workflows --task-queue orders --interceptor odradek.contrib.opentelemetry:TracingInterceptor
  odradek worker shop.workflows --task-queue orders --data-converter odradek.contrib.pydantic:pydantic_data_converter

MODULE:ATTRIBUTE names a class or function, or a list of them; MODULE alone means all that it defines (of interceptors one is named).
Modules are looked for in the present directory first. SIGTERM (or Ctrl-C) drains: no new inputs, activities get their grace (setting
`graceful_shutdown_timeout`), then they are cancelled; 5 s later the process ends, with status 1 if any still runs. A second one ends at
once, with status 143 (130 for Ctrl-C). A worker that fails drains for no longer either.
"""


def register(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "worker",
        run,
        help="run workflows and activities of a module",
        parents=[cluster_options()],
        epilog=EXAMPLES,
        statuses=SERVING,
    )
    parser.add_argument("workflows", nargs="?", metavar="MODULE:WORKFLOWS", help="workflow classes")
    parser.add_argument(
        "--activities",
        action="append",
        metavar="MODULE:ACTIVITIES",
        help="activity functions; may be given again",
    )
    parser.add_argument(
        "--interceptor",
        action="append",
        metavar="MODULE:NAME",
        help="interceptor, its class, or a list of them; may be given again",
    )
    parser.add_argument(
        "--data-converter",
        metavar="MODULE:NAME",
        help="the `DataConverter` of its clients (default: JSON)",
    )
    parser.add_argument("--task-queue", "-t", help="task queue (setting `task_queue`)")
    parser.add_argument(
        "--processes",
        type=POSITIVE,
        default=1,
        metavar="N",
        help="processes, each a member of the group (default: 1)",
    )
    parser.add_argument(
        "--supervise",
        action="store_true",
        help="with one process too: a parent that ends and restarts it when its interpreter hangs",
    )
    parser.add_argument(
        "--max-concurrent-activities",
        type=POSITIVE,
        metavar="N",
        help="activities at a time (setting of that name)",
    )


def run(options: argparse.Namespace) -> int:
    """Serve until a signal ends it."""
    if not options.workflows and not options.activities:
        raise UsageError("nothing to run: name workflows (MODULE:WORKFLOWS), --activities, or both")
    settings = settings_of(
        options,
        task_queue=options.task_queue,
        max_concurrent_activities=options.max_concurrent_activities,
    )
    if not settings.task_queue:
        raise UsageError(
            "no task queue: give --task-queue, or the setting `task_queue` (ODRADEK_TASK_QUEUE)"
        )
    log_as_set(settings, options.log_level)
    try:
        sys.path.insert(0, os.getcwd())
    except OSError as error:
        raise UsageError(
            f"the working directory cannot be read: {error.strerror}. Change to one that is there"
        ) from error
    workflows = load(options.workflows, _is_workflow, "workflow class") if options.workflows else []
    activities = [
        one
        for name in options.activities or []
        for one in load(name, _is_activity, "activity function")
    ]
    interceptors = [one for name in options.interceptor or [] for one in interceptors_of(name)]
    converter = (
        data_converter_of(options.data_converter)
        if options.data_converter is not None
        else DataConverter.default
    )
    if options.processes > 1 or options.supervise:
        return _supervise(settings, options.arguments, options.processes)
    return asyncio.run(
        _serve(settings, settings.task_queue, workflows, activities, interceptors, converter)
    )


def load(
    name: str, wanted: Callable[[Any], bool], what: str, cure: str = "; is its decorator missing?"
) -> list[Any]:
    """What `MODULE:ATTRIBUTE` or `MODULE` names: always a list, never empty. Raises `UsageError`."""
    module_name, _, attribute = name.partition(":")
    if os.sep in module_name or not all(module_name.split(".")):
        raise UsageError(
            f"{name!r} names no module: write it as an import does, `shop.workflows` for the file"
            " shop/workflows.py"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (
            module_name == error.name or module_name.startswith(f"{error.name}.")
        ):
            raise UsageError(
                f"no module named {error.name!r} (from {name!r}): run from its directory, or set"
                " PYTHONPATH"
            ) from error
        raise
    if attribute:
        if not hasattr(module, attribute):
            raise UsageError(f"module {module_name!r} has no attribute {attribute!r}")
        value = getattr(module, attribute)
        found = list(value) if isinstance(value, Sequence) else [value]
    else:
        found = [
            value
            for value in vars(module).values()
            if wanted(value) and value.__module__ == module.__name__
        ]
    wrong = [one for one in found if not wanted(one)]
    if wrong:
        raise UsageError(f"{name}: {wrong[0]!r} is no {what}{cure}")
    if not found:
        raise UsageError(f"{name}: no {what} there")
    return found


def interceptors_of(name: str) -> list[Any]:
    """The interceptors that `MODULE:NAME` names, made where it names classes. Raises `UsageError`.

    MODULE alone is none: of a class and an instance of it, both there, each call would pass
    both.
    """
    if not name.partition(":")[2]:
        raise UsageError(f"{name}: which interceptor? MODULE:NAME")
    try:
        found = load(
            name,
            _is_interceptor,
            "interceptor",
            ": one derives from `Interceptor` of `odradek.client` or `odradek.worker`",
        )
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "opentelemetry":
            raise UsageError(
                f"{name} needs OpenTelemetry: pip install 'odradek[opentelemetry]'"
            ) from error
        raise
    return [_made(name, one) for one in found]


def data_converter_of(name: str) -> DataConverter:
    """The one that `MODULE:NAME` names, made where it names a class. Raises `UsageError`."""
    if not name.partition(":")[2]:
        raise UsageError(f"{name}: which data converter? MODULE:NAME")
    found = load(
        name,
        _is_data_converter,
        "data converter",
        ": a `DataConverter` of `odradek.converter`, or a class derived from it",
    )
    if len(found) > 1:
        raise UsageError(f"{name}: {len(found)} data converters; a worker has one")
    converter: DataConverter = _made(name, found[0])
    return converter


def _made(name: str, one: Any) -> Any:
    if not inspect.isclass(one):
        return one
    try:
        return one()
    except Exception as error:  # whatever a constructor of somebody's raises
        raise UsageError(
            f"{name}: {one.__name__} cannot be made: {type(error).__name__}: {error}. Name an"
            " instance of it"
        ) from error


def _is_workflow(value: Any) -> bool:
    from odradek.activation.definitions import DEFINITION_ATTRIBUTE

    return inspect.isclass(value) and DEFINITION_ATTRIBUTE in vars(value)


def _is_activity(value: Any) -> bool:
    from odradek.activities.definition import ATTRIBUTE

    return callable(value) and hasattr(value, ATTRIBUTE)


def _is_interceptor(value: Any) -> bool:
    from odradek import client, worker

    kinds = (client.Interceptor, worker.Interceptor)
    return (
        issubclass(value, kinds) and value not in kinds
        if inspect.isclass(value)
        else isinstance(value, kinds)
    )


def _is_data_converter(value: Any) -> bool:
    return (
        issubclass(value, DataConverter)
        if inspect.isclass(value)
        else isinstance(value, DataConverter)
    )


def _supervise(settings: Settings, arguments: list[str], processes: int) -> int:
    """N processes of this same command, each in its own interpreter."""
    from odradek.kafka.client_config import check_kafka_settings
    from odradek.processor.supervisor import Supervisor

    check_kafka_settings(settings)  # said once here, not by each of them
    command = [
        sys.executable,
        "-m",
        "odradek.cli",
        *_without(arguments, "--supervise", "--processes"),
    ]
    return Supervisor(command, processes).run()


def _without(arguments: list[str], flag: str, option: str) -> list[str]:
    """Command line arguments less a flag and an option with its value."""
    kept = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == option:
            skip = True
        elif argument != flag and not argument.startswith(f"{option}="):
            kept.append(argument)
    return kept


async def _serve(
    settings: Settings,
    task_queue: str,
    workflows: list[Any],
    activities: list[Any],
    interceptors: list[Any],
    data_converter: DataConverter,
) -> int:
    """One worker, until it is told to stop."""
    from odradek.cli import garbage
    from odradek.client import Client, Interceptor
    from odradek.processor.supervisor import beat_to_parent
    from odradek.worker import Worker

    parent = beat_to_parent()
    garbage.tune()
    clients = [
        one for one in interceptors if isinstance(one, Interceptor)
    ]  # those of workers too are used by the client's workers
    others: list[Any] = [one for one in interceptors if one not in clients]
    client = await Client.connect(
        settings=settings, interceptors=clients, data_converter=data_converter
    )
    with ThreadPoolExecutor(
        settings.max_concurrent_activities, thread_name_prefix="activity"
    ) as executor:
        logged: list[BaseException] = []
        stopping = asyncio.Event()
        ending = _handle_signals(
            stopping,
            parent,
            settings.graceful_shutdown_timeout.total_seconds() + AFTER_GRACE_SECONDS,
        )

        async def on_fatal_error(error: BaseException) -> None:
            logged.append(error)
            ending.tell()  # nothing is served any more: whoever restarts processes has to see it

        worker = Worker(
            client,
            task_queue=task_queue,
            workflows=workflows,
            activities=activities,
            activity_executor=executor,
            interceptors=others,
            on_fatal_error=on_fatal_error,
        )
        serving = asyncio.create_task(worker.run())
        waiting = asyncio.create_task(stopping.wait())
        logger.info(
            "worker of task queue %r: %d workflow types, %d activities",
            task_queue,
            len(workflows),
            len(activities),
        )
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set() and not serving.done():
            logger.info("draining; a second signal ends at once")
            await worker.shutdown()
        waiting.cancel()
        try:
            await serving
        except OdradekError as error:
            if error not in logged or settings.log_format != "text":
                raise
            return status_of(error)[0]  # the worker has said it, on the same stderr
    client.close()
    return 0


def _handle_signals(
    stopping: asyncio.Event, parent: Parent | None, within_seconds: float
) -> Ending:
    """The first signal sets `stopping`, the second ends the process at once. So does the time,
    if it drains for longer than that: what is given back, for ends over something else too.

    A supervised process has one end from its parent, which kills it for a second signal; what
    else comes is the first one again: systemd, for one, sends it to every process of a unit.
    """
    from odradek.processor.ending import Ending

    loop = asyncio.get_running_loop()
    text = "activities that do not end are tried again, after their timeouts"
    # The loop may be what an activity, or a log that nobody reads, blocks.
    ending = Ending(
        within_seconds, f"error: not drained within {within_seconds:g} s; {text}", Status.FAILED
    )
    came: list[int] = []

    def drain() -> None:
        ending.tell()
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is done
            loop.call_soon_threadsafe(stopping.set)

    def on_signal(number: int, _: object) -> None:  # may be called in the middle of itself
        came.append(number)
        if (len(came) > 1 or loop.is_closed()) and not (parent and parent.lives):
            os._exit(128 + number)
        drain()

    if parent:
        parent.gone = drain
    # Not the loop's handlers, which run no sooner than what blocks it lets go.
    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN if parent else on_signal
    )  # the parent passes its own on as SIGTERM
    return ending
