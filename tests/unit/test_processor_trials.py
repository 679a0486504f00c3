"""Lanes of one process: while one tries something alone, no other runs workflow code."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from odradek.processor import trials
from odradek.processor.errors import Stopping
from odradek.processor.services import LaneServices
from odradek.processor.trials import OF_PROCESS, SPREAD_SECONDS, Trials, moment
from tests.support.until import until


def goes_on() -> None:
    """Nobody has to stop."""


@functools.cache
def at(partition: int, queue: str = "q") -> object:
    """In place of that lane."""
    return object()


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
        with of_process.alone(at(0), goes_on) as alone:
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
        with of_process.alone(at(partition), goes_on) as alone:
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


@pytest.mark.promise("quarantine")
def test_lanes_of_other_queues_wait_too() -> None:
    assert LaneServices.trials is OF_PROCESS
    of_process, ran = Trials(), threading.Event()

    def other() -> None:
        with of_process.step(at(0, "other"), goes_on):
            ran.set()

    with ThreadPoolExecutor() as pool:
        with of_process.alone(at(0), goes_on):
            waiting = pool.submit(other)
            assert not ran.wait(0.05)
        waiting.result(10)


def test_a_step_that_does_not_end_is_told_and_keeps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.05)
    of_process = Trials()
    with ThreadPoolExecutor() as pool, of_process.step(at(0), goes_on):

        def trial() -> bool:
            with of_process.alone(at(1), goes_on) as alone, of_process.step(at(1), goes_on):
                return alone or pool.submit(other).result(10)

        def other() -> bool:
            with of_process.step(at(2), goes_on):
                return False

        assert pool.submit(trial).result(10) is False
        monkeypatch.setattr(trials, "_LOOK_SECONDS", 60)
        assert pool.submit(trial).result(10) is False, (
            "nor does the next wait for what is known not to end"
        )


@pytest.mark.promise("quarantine")
def test_others_go_on_beside_a_trial_that_takes_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.05)
    of_process, ran = Trials(), threading.Event()

    def other() -> None:
        with of_process.step(at(1), goes_on):
            ran.set()

    with ThreadPoolExecutor() as pool, of_process.alone(at(0), goes_on) as alone:
        assert alone
        others = [pool.submit(other)]
        with of_process.step(at(0), goes_on):
            assert ran.wait(10), "beside it"
        for each in others:
            each.result(10)
        with of_process.step(at(0), goes_on):  # its other halves
            pass


@pytest.mark.promise("quarantine")
def test_what_owners_died_over_does_not_pass_a_long_trial_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It may be what kills the process, and the one beside it, which was slow and nothing else,
    was held in its place.
    """
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.05)
    of_process, ran, tried = Trials(), threading.Event(), threading.Event()

    def other() -> None:
        with of_process.step(at(1), goes_on):
            ran.set()

    def trial() -> bool:
        with of_process.alone(at(2), goes_on) as alone:
            tried.set()
            return alone

    with ThreadPoolExecutor() as pool:
        with of_process.alone(at(0), goes_on):
            waiting = pool.submit(trial)
            with of_process.step(at(0), goes_on):
                pool.submit(other).result(10)
                assert ran.is_set() and not tried.wait(0.3), "it waits, others do not"
            pool.submit(other).result(10)
            assert not tried.is_set(), "what the long one did is not committed yet"
        assert waiting.result(10)


def test_a_trial_that_nobody_ends_keeps_another_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.02)
    monkeypatch.setattr(trials, "TRIALS_PATIENCE_SECONDS", 0.1)
    of_process = Trials()

    def trial() -> bool:
        with of_process.alone(at(1), goes_on) as alone:
            return alone

    with (
        ThreadPoolExecutor() as pool,
        of_process.alone(at(0), goes_on),
        of_process.step(at(0), goes_on),
    ):
        assert pool.submit(trial).result(10) is False


def test_the_successor_of_a_lane_that_does_not_come_back_says_nothing_of_its_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both have the same partition; the successor is dropped again and again, since the store is
    still locked.
    """
    monkeypatch.setattr(trials, "PATIENCE_SECONDS", 0.05)
    of_process = Trials()
    with of_process.step(at(0), goes_on):
        of_process.let_go(at(0, "its successor"))
        with of_process.alone(at(1), goes_on) as alone:
            assert not alone


def test_a_child_process_has_none_of_the_lanes() -> None:
    """Forked while one lane tries something, another has the lock and a third is in a step."""
    with OF_PROCESS.alone(at(0), goes_on), OF_PROCESS._changed:
        child = os.fork()
        if not child:
            with OF_PROCESS.alone(at(1), goes_on) as alone:
                os._exit(0 if alone else 1)
        deadline = time.monotonic() + 10
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.002)
    assert ended == (child, 0)


def test_a_lane_that_has_to_stop_waits_for_nobody() -> None:
    of_process, stop = Trials(), threading.Event()

    def check() -> None:
        if stop.is_set():
            raise Stopping

    def step() -> None:
        with of_process.step(at(1), check):
            raise AssertionError("another lane tries something alone")

    def trial() -> None:
        with of_process.alone(at(2), check):
            raise AssertionError("another lane tries something alone")

    with ThreadPoolExecutor() as pool, of_process.alone(at(0), goes_on):
        waiting = [pool.submit(step), pool.submit(trial)]
        stop.set()
        for each in waiting:
            with pytest.raises(Stopping):
                each.result(10)


def test_a_lane_that_is_dropped_leaves_nothing_claimed() -> None:
    of_process = Trials()
    claim = of_process.alone(at(0), goes_on)
    claim.__enter__()
    of_process.let_go(at(0))
    with of_process.step(at(1), goes_on):
        of_process.let_go(at(0))
    with of_process.alone(at(1), goes_on) as alone:
        assert alone


def test_a_trial_begins_at_a_moment_of_chance() -> None:
    moments = {moment() for _ in range(20)}
    assert len(moments) == 20 and all(0 <= each <= SPREAD_SECONDS for each in moments)
