"""What is said of the settings of a topic that somebody made by hand, and the page by which he
makes it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from odradek.config import Settings
from odradek.wire import topics
from odradek.wire.topic_configs import SettingProblem, setting_problems, topic_config

PAGE = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()
KINDS = {
    topics.EVENTS: "Q.events",
    topics.STATE: "Q.state",
    topics.COMMANDS: "Q.commands",
    topics.CONTROL: "Q.control",
    topics.DEAD_LETTERS: "Q.dead-letters",
    topics.RESULTS: "results",
    topics.EXECUTIONS: "executions",
    topics.SCHEMAS: "schemas",
    topics.MEMBERS: "members",
    topics.REPLIES: "replies",
}
#: What Kafka says of a topic that was made without a setting.
DEFAULTS = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "min.insync.replicas": "1",
    "message.timestamp.type": "CreateTime",
    "message.timestamp.before.max.ms": "9223372036854775807",
}


def said(kind: str, *, replicas: int = 3, **changes: str) -> list[tuple[str, str, bool]]:
    """(setting, wanted value, whether it stops)."""
    settings = DEFAULTS | {name.replace("_", "."): value for name, value in changes.items()}
    return [
        (each.setting, each.wanted, each.stops)
        for each in setting_problems(kind, settings, replicas=replicas)
    ]


def test_the_page_has_the_settings_that_odradek_gives() -> None:
    retention_ms = int(Settings().results_retention.total_seconds() * 1_000)
    rows = ["| topic | partitions | settings |", "|---|---|---|"]
    for kind, name in KINDS.items():
        config = topic_config(kind, partitions=8, results_retention_ms=retention_ms)
        settings = ", ".join(f"`{key}={value}`" for key, value in config.settings.items())
        rows.append(
            f"| `{{p}}{name}` | {'`partitions`' if config.partitions == 8 else config.partitions} |"
            f" {settings} |"
        )
    assert "\n".join(rows) in PAGE, "\n".join(["", *rows])


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_said_of_what_odradek_gives(kind: str) -> None:
    settings = DEFAULTS | topic_config(kind, partitions=8, results_retention_ms=-1).settings
    assert setting_problems(kind, settings, replicas=1) == []


def test_defaults_of_kafka() -> None:
    assert {kind: found for kind in KINDS if (found := said(kind))} == {
        topics.STATE: [("cleanup.policy", "compact", True)],
        topics.EVENTS: [("retention.ms", "-1", False)],
        topics.COMMANDS: [("retention.ms", "-1", False)],
        topics.EXECUTIONS: [("cleanup.policy", "compact", False)],
        topics.SCHEMAS: [("cleanup.policy", "compact", False)],
    }


def test_compaction_where_each_record_counts() -> None:
    found = {kind: said(kind, cleanup_policy="compact", retention_ms="-1") for kind in KINDS}
    assert {kind for kind, each in found.items() if each and each[0][2]} == {
        topics.EVENTS,
        topics.COMMANDS,
        topics.RESULTS,
    }
    assert {kind for kind, each in found.items() if each and not each[0][2]} == {
        topics.CONTROL,
        topics.DEAD_LETTERS,
        topics.REPLIES,
    }


@pytest.mark.parametrize(
    ("policy", "ms", "size", "stops"),
    [
        ("delete", "-1", "1000", True),
        ("compact,delete", "1000", "-1", True),
        ("compact, delete", "-1", "-1", False),
        ("delete", "-1", "-1", False),
    ],
)
def test_state_that_is_deleted(policy: str, ms: str, size: str, stops: bool) -> None:
    assert said(topics.STATE, cleanup_policy=policy, retention_ms=ms, retention_bytes=size) == [
        ("cleanup.policy", "compact", stops)
    ]


def test_state_of_a_broker_that_tells_no_policy() -> None:
    assert setting_problems(topics.STATE, {}) == []
    assert setting_problems(topics.STATE, dict.fromkeys(DEFAULTS, None), replicas=1) == []
    assert (
        setting_problems(topics.EVENTS, DEFAULTS | {"retention.ms": "0"}, replicas=1)[0].value
        == "0"
    )
    assert (
        setting_problems(topics.EVENTS, {"cleanup.policy": "delete", "retention.ms": "forever"})
        == []
    )


def test_more_in_sync_than_there_are() -> None:
    assert said(topics.EVENTS, replicas=1, min_insync_replicas="2") == [
        ("retention.ms", "-1", False),
        ("min.insync.replicas", "1", False),
    ]
    assert said(topics.RESULTS, replicas=0, min_insync_replicas="2") == [], "not known"


def test_records_that_waited() -> None:
    assert said(topics.RESULTS, message_timestamp_before_max_ms="1000") == [
        ("message.timestamp.before.max.ms", "86400000", False)
    ]
    assert said(topics.RESULTS, message_timestamp_before_max_ms="999") == [
        ("message.timestamp.before.max.ms", "86400000", True)
    ]
    assert (
        said(
            topics.RESULTS,
            message_timestamp_type="LogAppendTime",
            message_timestamp_before_max_ms="1000",
        )
        == []
    )


def test_a_problem_names_its_value() -> None:
    [problem] = setting_problems(topics.STATE, DEFAULTS)
    assert problem == SettingProblem(
        "cleanup.policy", "delete", "compact", problem.reason, stops=True
    )
