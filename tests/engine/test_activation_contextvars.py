"""`contextvars` stay within a run: what one sets, no other sees, nor does whoever activates it;
a replay sees the same values.
"""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta
from typing import Any

import pytest

from odradek import workflow
from odradek.log_fields import log_fields, set_log_fields
from tests.engine.activation_driver import Driver, activator, completed, result_of, signal
from tests.engine.test_activation_interceptors import both

MINUTE = timedelta(minutes=1)
tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="nobody")


@workflow.defn
class Tells:
    """Sets the variable where its input says, and tells at its end what it sees."""

    @workflow.init
    def __init__(self, where: str) -> None:
        self.where = where
        self.seen = [f"init {tenant.get()}"]
        self.closed: list[str] = []
        self.mark("init")

    def mark(self, place: str) -> None:
        if self.where == place:
            tenant.set(f"set in {place}")

    @workflow.run
    async def run(self, where: str) -> list[str]:
        self.seen.append(f"run {tenant.get()}")
        self.mark("run")
        await workflow.execute_activity("a", start_to_close_timeout=MINUTE)

        def arrived() -> bool:
            if len(self.seen) < 4:
                return False
            self.seen.append(f"predicate {tenant.get()}")
            self.mark("predicate")
            return True

        await workflow.wait_condition(arrived)
        self.seen.append(f"task {await asyncio.create_task(self.look())}")
        return [*self.seen, f"end {tenant.get()}"]

    async def look(self) -> str:
        return tenant.get()

    @workflow.signal
    def plain(self) -> None:
        self.seen.append(f"plain {tenant.get()}")
        self.mark("plain")

    @workflow.signal
    async def waiting(self) -> None:
        self.seen.append(f"waiting {tenant.get()}")
        self.mark("waiting")
        await asyncio.sleep(0)

    @workflow.query
    def ask(self) -> str:
        self.mark("query")
        return tenant.get()


PLACES = ["nowhere", "init", "run", "predicate", "plain", "waiting", "query"]


def told(where: str) -> list[str]:
    """What a run sees that sets the variable at `where`: the object's context is that of
    handlers, the run method has its own.
    """
    everywhere = "set in init" if where == "init" else "nobody"
    in_run = "set in run" if where == "run" else everywhere
    return [
        "init nobody", f"run {everywhere}", f"plain {everywhere}", f"waiting {everywhere}",
        f"predicate {in_run}", f"task {in_run}", f"end {in_run}",
    ]  # fmt: skip


@pytest.mark.promise("determinism")
@pytest.mark.parametrize("where", PLACES)
def test_a_variable_stays_within_its_run(where: str) -> None:
    for made_by in both(Tells):
        other = Driver(made_by, "Tells", "nowhere")
        run = Driver(made_by, "Tells", where)
        for one in (other, run):
            one.start()
        for _ in range(2):
            assert run.answer("ask") == (
                "set in query"
                if where == "query"
                else "set in init"
                if where == "init"
                else "nobody"
            )
            assert other.answer("ask") == "nobody"
        for one, place in ((run, where), (other, "nowhere")):
            one.step(completed(1))
            assert result_of(one.step(signal("plain"), signal("waiting"))) == told(place)
        assert tenant.get() == "nobody", "nor does the host see it"
        run.replay()


def test_a_variable_of_the_host_is_not_seen() -> None:
    """A replay elsewhere could not see it."""

    def live() -> Driver:
        tenant.set("the host")
        run = Driver(activator(Tells), "Tells", "nowhere")
        run.start()
        tenant.set("the host, later")
        assert run.answer("ask") == "nobody"
        run.step(completed(1))
        assert result_of(run.step(signal("plain"), signal("waiting"))) == told("nowhere")
        assert tenant.get() == "the host, later"
        return run

    contextvars.copy_context().run(live).replay()


@workflow.defn
class Cleans:
    @workflow.run
    async def run(self) -> None:
        token = tenant.set("inside")
        try:
            await asyncio.Event().wait()
        finally:
            CLEANED.append(tenant.get())
            tenant.reset(token)  # a ValueError in any other context
            CLEANED.append(tenant.get())
            tenant.set("while closing")


CLEANED: list[str] = []


def test_closing_a_run_happens_in_its_own_context() -> None:
    CLEANED.clear()
    run = Driver(Cleans)
    run.start()
    run.instance.close()
    assert CLEANED == ["inside", "nobody"]
    assert tenant.get() == "nobody"


@workflow.defn
class Logs:
    @workflow.run
    async def run(self) -> dict[str, Any]:
        return dict(log_fields())


def test_log_lines_of_workflow_code_keep_the_ids_of_their_partition() -> None:
    def live() -> Any:
        set_log_fields(partition=3)
        return result_of(Driver(Logs).start())

    assert contextvars.copy_context().run(live) == {"partition": 3}
