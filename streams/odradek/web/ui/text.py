"""Values as people read them: times, durations, sizes, JSON. Filters of the templates;
everything here returns escaped or plain text.
"""

from __future__ import annotations

import contextlib
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup, escape

from odradek.visibility.query.columns import STATUS_NAMES
from odradek.visible_text import IN_JSON, visible_lines
from odradek.web.segments import segment

#: A payload or attribute longer than this is cut on a page; downloads have all of it.
SHOWN_MAX = 100_000
_KEY = re.compile(r"^(\s*)(&#34;.*?&#34;):", re.MULTILINE)
_EMPTY: tuple[Any, ...] = ("", 0, None, False)


class Kept(str):
    """A text that is not for reading but is sent back as it is: values of fields, ids that
    scripts ask by.
    """


def kept(value: Any) -> Any:
    """A value whose text stays as it is."""
    return Kept(value) if isinstance(value, str) else value


def finalize(value: Any) -> Any:
    """What templates do with each value: of texts, control characters and those that turn text
    around become visible escapes.
    """
    if not isinstance(value, str) or isinstance(value, Kept):
        return value
    found = visible_lines(value)
    return value if found is value else Markup(found) if isinstance(value, Markup) else found


def _json(value: Any, **options: Any) -> str:
    """JSON for people, with its own escapes for what must not be raw."""
    return json.dumps(value, ensure_ascii=False, **options).translate(IN_JSON)


def clock(ms: int, precise: bool = False) -> Markup:
    """A time, to the second or the millisecond. Rendered in UTC; the page shows it in the zone
    that its reader has chosen.
    """
    if ms <= 0:
        return Markup('<span class="quiet">—</span>')
    at = datetime.fromtimestamp(ms // 1000, UTC)
    part = f".{ms % 1000:03d}"
    text = at.strftime("%Y-%m-%d %H:%M:%S") + (part if precise else "")
    return Markup('<time datetime="{}"{}>{}</time>').format(
        at.strftime("%Y-%m-%dT%H:%M:%S") + part + "Z",
        Markup(" data-precise") if precise else "",
        text,
    )


def ago(ms: int, now_ms: int) -> str:
    """How long ago, or how far ahead."""
    if ms <= 0:
        return "never"
    distance = now_ms - ms
    return f"{duration(distance)} ago" if distance >= 0 else f"in {duration(-distance)}"


def duration(ms: float | None) -> str:
    """12 ms, 3.4 s, 5 m 12 s, 2 h 03 m, 4 d 5 h."""
    if ms is None:
        return "—"
    if ms < 1_000:
        return f"{ms:.0f} ms"
    seconds = ms / 1000
    if seconds < 60 and seconds == int(seconds):
        return f"{seconds:.0f} s"
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def size(count: int) -> str:
    """Bytes: 900 B, 1.2 kB, 3.4 MB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def number(value: float | None) -> str:
    """12345 -> 12,345; None -> a dash."""
    if value is None:
        return "—"
    return f"{value:,.0f}" if value == int(value) else f"{value:,.1f}"


def counted(count: int, noun: str) -> str:
    """1 event, 2,000 events."""
    return f"{number(count)} {noun}{'' if count == 1 else 's'}"


def status_name(status: str) -> str:
    """The wire's RUNNING as Temporal's Running."""
    return STATUS_NAMES.get(status, status.replace("_", " ").capitalize())


def record_link(place: Any, workflow_id: str = "", run_id: str = "", event_id: int = 0) -> str:
    """The address of a record, with the event that knows of it: it tells the rest when Kafka has
    deleted the record.
    """
    path = f"/records/{segment(place.topic)}/{place.partition}/{place.offset}"
    if not (workflow_id and run_id and event_id):
        return path
    return (
        f"{path}?{urlencode({'workflow_id': workflow_id, 'run_id': run_id, 'event_id': event_id})}"
    )


def is_payload(value: Any) -> bool:
    """Whether a value is a payload as `record_value` shows one."""
    return (
        isinstance(value, dict) and "encoding" in value and "metadata" in value and "size" in value
    )


class _Placeholder(str):
    """Stands for a value that is not shown, and is no text: nothing puts it into quotes."""


def shown(value: Any, *, empties: bool = False) -> Any:
    """A value for people: payloads as what they hold, and without fields that hold nothing."""
    if is_payload(value):
        if "value" in value:
            return value["value"]
        return _Placeholder(
            f"⟨{value.get('unreadable') or value['encoding'] + ', ' + size(value['size'])}⟩"
        )
    if isinstance(value, dict):
        parts = {name: shown(part, empties=empties) for name, part in value.items()}
        return (
            parts
            if empties
            else {
                name: part
                for name, part in parts.items()
                if part not in _EMPTY and part not in ([], {})
            }
        )
    if isinstance(value, list):
        return [shown(part, empties=empties) for part in value]
    return value


def pretty(value: Any) -> Markup:
    """A JSON value, indented, its keys marked; cut when it is very long."""
    text = _json(value, indent=2)
    cut = len(text) - SHOWN_MAX
    if cut > 0:
        text = text[:SHOWN_MAX] + f"\n… {cut:,} more characters"
    return Markup(_KEY.sub(r"\1<b>\2</b>:", str(escape(text))))


def brief(value: Any, length: int = 160) -> str:
    """A value on one line."""
    text = value if isinstance(value, str) else _on_a_line(shown(value, empties=True))
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1] + "…"


def plain(value: Any, length: int = 160) -> str:
    """A search attribute on one line, as people write it: text without quotes, a list with
    commas, a time as times are shown.
    """
    found = shown(value, empties=True)
    if is_payload(value) and value["metadata"].get("type") == "Datetime" and isinstance(found, str):
        with contextlib.suppress(ValueError, OverflowError):
            at = datetime.fromisoformat(found)
            return clock(
                round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000), True
            )
    return brief(
        ", ".join(map(str, found))
        if isinstance(found, list) and all(isinstance(one, str) for one in found)
        else found,
        length,
    )


def brief_payloads(payloads: Any, length: int = 160) -> str:
    """Arguments or results on one line: without brackets when there is one."""
    if not payloads:
        return ""
    texts = [_on_a_line(shown(one, empties=True)) for one in payloads]
    return brief(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]", length)


def _on_a_line(value: Any) -> str:
    return value if isinstance(value, _Placeholder) else _json(value, separators=(", ", ": "))


def failure_line(failure: Any) -> str:
    """A failure on one line: what stands deepest in its chain says why."""
    if not failure:
        return ""
    while failure.get("cause"):
        failure = failure["cause"]
    name = failure.get("type") or failure.get("timeout_type") or ""
    message = failure.get("message") or failure.get("kind", "")
    return f"{name}: {message}" if name and name != message else str(message)


def failure_ends(failure: Any) -> str:
    """A failure by both its ends: what was raised, and what stands deepest in its chain."""
    if not failure:
        return ""
    raised = failure_line({**failure, "cause": None})
    return f"{raised}, caused by {failure_line(failure)}" if failure.get("cause") else raised


FILTERS: dict[str, Any] = {
    "kept": kept,
    "clock": clock,
    "ago": ago,
    "duration": duration,
    "size": size,
    "number": number,
    "counted": counted,
    "status_name": status_name,
    "segment": segment,
    "record_link": record_link,
    "shown": shown,
    "pretty": pretty,
    "brief": brief,
    "brief_payloads": brief_payloads,
    "plain": plain,
    "failure_line": failure_line,
    "failure_ends": failure_ends,
}
TESTS: dict[str, Any] = {"payload": is_payload}
