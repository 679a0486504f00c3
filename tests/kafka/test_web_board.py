"""The thread that follows `members` and `schemas`: an error of one reading is not the end of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from odradek.kafka.admin import ClusterAdmin
from odradek.kafka.producer import PlainProducer
from odradek.web.kafka import follower
from odradek.web.kafka.follower import Board, BoardReader
from odradek.wire.codec import Codec, encode
from odradek.wire.headers import headers_for
from odradek.wire.outcomes import MemberStatus
from tests.kafka.lane_records import Wire
from tests.support.until import until


def test_it_reads_anew_after_an_error(
    bootstrap: str, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(bootstrap, namespace, tmp_path)
    admin = ClusterAdmin(wire.settings)
    admin.ensure([admin.topics.members, admin.topics.schemas])
    board, codec = Board(), Codec()
    failures = iter([RuntimeError("a defect")])
    decode = codec.decode

    def failing(data: bytes) -> object:
        error = next(failures, None)
        if error is not None:
            raise error
        return decode(data)

    monkeypatch.setattr(codec, "decode", failing)
    monkeypatch.setattr(follower, "AGAIN_S", 0.1)
    reader = BoardReader(wire.settings, board, codec)
    reader.start()
    producer = PlainProducer(wire.settings)
    try:
        status = MemberStatus("m", "PROCESSOR", namespace, "q", "me", board.now_ms())
        producer.produce(admin.topics.members, b"m", encode(status), headers_for(status))
        until(lambda: [member.member_id for member in board.members()] == ["m"])
    finally:
        producer.close(5.0)
        reader.close()
