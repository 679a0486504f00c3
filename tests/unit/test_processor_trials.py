"""Lanes of one process: while one tries something alone, no other runs workflow code."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from odradek.processor import trials
from odradek.processor.errors import Stopping
from odradek.processor.services import LaneServices
from odradek.processor.trials import OF_PROCESS, SPREAD_SECONDS, Place, Trials, moment


def goes_on() -> None:
    """Nobody has to stop."""


def counts() -> None:
    """Nobody goes on beside the trial."""
    raise AssertionError("it was alone")


def at(partition: int, queue: str = "q") -> Place:
    """Where a lane stands."""
    return (f"{queue}.events", partition)


def until(condition: Callable[[], bool]) -> None:
    """Wait for it, ten seconds at most."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_steps_of_lanes_run_beside_each_other() -> None:
    of_process = Trials()
    with of_process.step(at(0), goes_on), of_process.step(at(1), goes_on):
        pass


def test_nobody_runs_while_one_tries_alone_but_itself() -> None:
    of_process, ran = Trials(), threading.Event()

    def other() -> None:
        with of_process.step(at(1), goes_on):
            ran.set()

    with ThreadPoolExecutor() as pool:
        with of_process.alone(at(0), goes_on, counts) as alone:
            assert alone
            waiting = pool.submit(other)
            with of_process.step(at(0), goes_on):
                assert not ran.wait(0.05)
            assert not ran.wait(0.05), "its step is over, its trial is not"
        waiting.result(10)
    assert ran.is_set()


def test_a_trial_waits_for_steps_that_run_and_for_other_trials() -> None:
    of_process, tried, order = Trials(), threading.Event(), list[int]()

    def trial(partition: int) -> None:
        with of_process.alone(at(partition), goes_on, counts) as alone:
            assert alone and tried.is_set()
            order.append(partition)
            with of_process.step(at(partition), goes_on):
                order.append(partition)

    with ThreadPoolExecutor() as pool:
        with of_process.step(at(0), goes_on):
            others = [pool.submit(trial, partition) for partition in (1, 2)]
            until(lambda: of_process._alone is not None)
            assert not order
            tried.set()
        for each in others:
            each.result(10)
    assert order in ([1, 1, 2, 2], [2, 2, 1, 1])


def test_lanes_of_other_queues_wait_too() -> None:
    assert LaneServices.trials is OF_PROCESS
    of_process, ran = Trials(), threading.Event()

    def other() -> None:
        with of_process.step(at(0, "other"), goes_on):
            ran.set()

    with ThreadPoolExecutor() as pool:
        with of_process.alone(at(0), goes_on, counts):
            waiting = pool.submit(other)
            assert not ran.wait(0.05)
        waiting.result(10)


def test_a_step_that_does_not_end_is_told_and_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.05)
    of_process = Trials()
    with ThreadPoolExecutor() as pool, of_process.step(at(0), goes_on):

        def trial() -> bool:
            with of_process.alone(at(1), goes_on, counts) as alone, of_process.step(at(1), goes_on):
                return alone or pool.submit(other).result(10)

        def other() -> bool:
            with of_process.step(at(2), goes_on):
                return False

        assert pool.submit(trial).result(10) is False
        monkeypatch.setattr(trials, "_LOOK_SECONDS", 60)
        assert pool.submit(trial).result(10) is False, "nor does the next wait for what is known not to end"


def test_others_go_on_beside_a_trial_that_takes_too_long_and_its_death_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.05)
    of_process, ran, spared, ended = Trials(), threading.Event(), list[str](), threading.Event()

    def other() -> None:
        with of_process.step(at(1), goes_on):
            assert len(spared) == 1, "before it goes on"
            ran.set()

    def spare() -> None:
        assert not ended.wait(0.1), "the step does not end meanwhile"
        spared.append(threading.current_thread().name)

    with ThreadPoolExecutor() as pool, of_process.alone(at(0), goes_on, spare) as alone:
        assert alone
        others = [pool.submit(other)]
        with of_process.step(at(0), goes_on):
            until(lambda: of_process._alone is None)
        ended.set()
        assert len(spared) == 1 and spared[0] != threading.current_thread().name
        for each in others:
            each.result(10)
        assert ran.is_set()
        with of_process.step(at(0), goes_on):  # its other halves
            pass


def test_a_lane_that_has_to_stop_waits_for_nobody() -> None:
    of_process, stop = Trials(), threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopping

    def step() -> None:
        with of_process.step(at(1), check):
            raise AssertionError("another lane tries something alone")

    def trial() -> None:
        with of_process.alone(at(2), check, counts):
            raise AssertionError("another lane tries something alone")

    with ThreadPoolExecutor() as pool, of_process.alone(at(0), goes_on, counts):
        waiting = [pool.submit(step), pool.submit(trial)]
        stop.set()
        for each in waiting:
            with pytest.raises(Stopping):
                each.result(10)


def test_a_lane_that_is_dropped_leaves_nothing_claimed() -> None:
    of_process = Trials()
    claim = of_process.alone(at(0), goes_on, counts)
    claim.__enter__()
    of_process.let_go(at(0))
    with of_process.step(at(1), goes_on):
        of_process.let_go(at(0))
    with of_process.alone(at(1), goes_on, counts) as alone:
        assert alone


def test_a_trial_begins_at_a_moment_of_chance() -> None:
    moments = {moment() for _ in range(20)}
    assert len(moments) == 20 and all(0 <= each <= SPREAD_SECONDS for each in moments)
