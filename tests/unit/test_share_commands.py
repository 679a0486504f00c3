"""`ShareCommands` against a client that is played: what is said of each record, and what a pause
of the process does.
"""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import AcknowledgeType

from odradek.activities.ownership import StartGate
from odradek.activities.share_commands import ShareCommands, members_for


class Record:
    def __init__(self, offset: int, deliveries: int = 1) -> None:
        self._offset, self._deliveries = offset, deliveries

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return self._offset

    def error(self) -> None:
        return None

    def delivery_count(self) -> int:
        return self._deliveries


class Client:
    """Refuses, as the real one does, to poll before everything of the last poll was answered for."""

    def __init__(self) -> None:
        self.ready: list[list[Record]] = []
        self.said: dict[int, AcknowledgeType] = {}
        self.open: set[int] = set()
        self.closed = False

    def subscribe(self, topics: list[str]) -> None: ...
    def set_acknowledgement_commit_callback(self, callback: Any) -> None: ...
    def commit_async(self) -> None: ...

    def poll(self, timeout: float) -> list[Record]:
        assert not self.open
        batch = self.ready.pop(0) if self.ready else []
        self.open = {record.offset() for record in batch}
        return batch

    def acknowledge(self, record: Record, kind: AcknowledgeType) -> None:
        self.open.remove(record.offset())
        self.said[record.offset()] = kind

    def close(self) -> None:
        self.closed = True


class Setting:
    def __init__(self, done_before: int = 0) -> None:
        self.now = 0.0
        self.clients: list[Client] = []
        self.gate = StartGate(3.0, lambda: self.now)
        self.commands = ShareCommands(
            self._client,
            "commands",
            "group",
            members=2,
            partitions=1,
            done_before={0: done_before},
            gate=self.gate,
        )
        self.commands.subscribe()

    def _client(self) -> Any:
        self.clients.append(Client())
        return self.clients[-1]

    def poll(self) -> dict[int, Any]:
        """Offset -> (owner, cell)."""
        return {
            message.offset() or 0: self.commands.take(message)
            for message in self.commands.poll(0, 100)
        }


@pytest.fixture
def setting() -> Setting:
    return Setting()


def test_a_member_polls_again_once_all_of_its_batch_is_answered_for(setting: Setting) -> None:
    one, two = setting.clients
    one.ready, two.ready = [[Record(0), Record(1)], [Record(4)]], [[Record(2)], [Record(3)]]
    taken = setting.poll()
    assert sorted(taken) == [0, 1, 2]
    taken[0][1].acknowledged = taken[2][1].acknowledged = True
    assert sorted(setting.poll()) == [3]  # the other member's batch is whole
    assert one.said == {0: AcknowledgeType.ACCEPT} and two.said == {2: AcknowledgeType.ACCEPT}
    taken[1][1].returned = True
    assert sorted(setting.poll()) == [4]
    assert one.said[1] == AcknowledgeType.RELEASE


def test_only_what_was_delivered_before_may_be_a_redelivery(setting: Setting) -> None:
    setting.clients[0].ready = [[Record(7), Record(8, deliveries=2)]]
    taken = setting.poll()
    assert [offset < owner.end_at_assignment for offset, (owner, _) in sorted(taken.items())] == [
        False,
        True,
    ]


def test_what_a_classic_group_did_is_accepted_unseen() -> None:
    setting = Setting(done_before=5)
    setting.clients[0].ready = [[Record(4), Record(5)]]
    assert sorted(setting.poll()) == [5]
    setting.poll()
    assert setting.clients[0].said == {4: AcknowledgeType.ACCEPT}


def test_after_a_pause_nothing_begins_that_was_held_or_had_just_come(setting: Setting) -> None:
    one, two = setting.clients
    one.ready = [[Record(0), Record(1)]]
    held = setting.poll()
    setting.now = 60.0
    assert not setting.gate.is_open
    two.ready = [[Record(2)], [Record(3)]]
    assert setting.poll() == {}
    assert setting.gate.is_open and not any(owner.owned for owner, _ in held.values())
    held[0][1].acknowledged = True  # it ran, over the pause
    held[1][1].returned = True  # it was dropped
    assert sorted(setting.poll()) == [3]
    assert one.said == {0: AcknowledgeType.ACCEPT, 1: AcknowledgeType.RELEASE} and two.said == {
        2: AcknowledgeType.RELEASE
    }


def test_a_shutdown_closes_members_as_they_become_free_and_releases_the_rest(
    setting: Setting,
) -> None:
    one, two = setting.clients
    one.ready = [[Record(0)]]
    setting.poll()
    setting.commands.drain()
    assert two.closed and not one.closed
    setting.commands.close()
    assert one.closed and one.said == {0: AcknowledgeType.RELEASE}


@pytest.mark.parametrize(
    ("slots", "members", "records"),
    [(1, 2, 1), (2, 2, 1), (3, 3, 1), (4, 4, 1), (10, 4, 2), (100, 4, 25)],
)
def test_members_ask_for_about_as_much_as_there_are_slots(
    slots: int, members: int, records: int
) -> None:
    assert members_for(slots) == (members, records)
