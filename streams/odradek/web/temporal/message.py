"""A JSON request body, read as protobuf's JSON mapping reads a message.

Names in camel case or as in the proto file, int64 as text or number, enums by name or number,
durations as "1.5s", null as absent. A member that the message does not have is an error; one
that it has and that means something Odradek cannot do is UNIMPLEMENTED, never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from odradek.engine.json_fields import read_failure, screaming, write_payload
from odradek.web.errors import check_text, invalid, unimplemented
from odradek.web.temporal.shorthand import from_base64, read_payload, read_payloads
from odradek.wire.payload import Failure, Payload, RetryPolicy

_DURATION = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s")
_INT32_MAX = 2**31 - 1


class Message:
    """One object of a body. `known`: members it may have; `ignored`: those taken and not used;
    `refused`: those that must be empty.
    """

    def __init__(
        self,
        value: Any,
        known: Collection[str],
        *,
        what: str = "",
        ignored: Collection[str] = (),
        refused: Collection[str] = (),
        short: bool = True,
    ) -> None:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise invalid(f"{what or 'the body'} must be a JSON object")
        #: Where it stands in the body: what errors name.
        self.what = what
        self._short = short
        self._members: dict[str, Any] = {}
        given: set[str] = set()
        for name, part in value.items():
            member = camel(name)
            if member in given:  # in both its spellings
                raise invalid(f'proto: duplicate field "{self._path(name)}"')
            given.add(member)
            if member not in known and member not in ignored and member not in refused:
                raise invalid(f'proto: unknown field "{self._path(name)}"')
            if part is None:
                continue
            if member in refused and not _is_default(part):
                raise unimplemented(self._path(member))
            self._members[member] = part

    def _path(self, name: str) -> str:
        return f"{self.what}.{name}" if self.what else name

    def has(self, name: str) -> bool:
        """Whether the member is there."""
        return name in self._members

    def is_empty(self, name: str) -> bool:
        """Whether the member has its default: text without a letter, a list without an item."""
        return self._members.get(name) in ("", [])

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        value = self._members.get(name, default)
        if not isinstance(value, str):
            raise invalid(f"{self._path(name)}: not a string")
        return check_text(value, self._path(name))

    def number(self, name: str) -> int:
        """An int32, not negative."""
        value = self._members.get(name, 0)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
            value = int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _INT32_MAX:
            raise invalid(f"{self._path(name)}: not a number from 0 to {_INT32_MAX}")
        return value

    def real(self, name: str) -> float:
        """A double."""
        value = self._members.get(name, 0.0)
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            raise invalid(f"{self._path(name)}: not a number") from None
        if isinstance(value, bool) or not -1e300 < number < 1e300:
            raise invalid(f"{self._path(name)}: not a number")
        return number

    def duration_ms(self, name: str) -> int:
        """A duration, in milliseconds; a part of one counts as a whole, since 0 means none."""
        value = self._members.get(name)
        if value is None:
            return 0
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise invalid(f'{self._path(name)}: not a duration; write seconds like "10s" or "1.5s"')
        nanos = int(match[2]) * 10**9 + int((match[3] or "").ljust(9, "0"))
        if match[1] and nanos:
            raise invalid(f"{self._path(name)}: negative")
        return -(-nanos // 10**6)

    def enum(self, name: str, prefix: str, values: Mapping[int, str]) -> str:
        """A value of an enum without its prefix; "" for UNSPECIFIED. `values`: by number."""
        value = self._members.get(name, 0)
        if isinstance(value, int) and not isinstance(value, bool):
            if value == 0:
                return ""
            if value in values:
                return values[value]
        if isinstance(value, str):
            found = value.removeprefix(prefix) if value.startswith(prefix) else screaming(value)
            if found == "UNSPECIFIED":
                return ""
            if found in values.values():
                return found
        raise invalid(
            f"{self._path(name)}: no such value; it is one of"
            f" {', '.join(prefix + value for value in values.values())}"
        )

    def texts(self, name: str) -> list[str]:
        """A list of strings."""
        value = self._members.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise invalid(f"{self._path(name)}: not a list of strings")
        return [check_text(item, self._path(name)) for item in value]

    def message(self, name: str, known: Collection[str], **options: Any) -> Message:
        """A message inside."""
        return Message(
            self._members.get(name), known, what=self._path(name), short=self._short, **options
        )

    def messages(self, name: str, known: Collection[str]) -> list[Message]:
        """A list of messages inside."""
        value = self._members.get(name, [])
        if not isinstance(value, list):
            raise invalid(f"{self._path(name)}: not a list")
        return [
            Message(part, known, what=f"{self._path(name)}[{number}]", short=self._short)
            for number, part in enumerate(value)
        ]

    def payload(self, name: str) -> Payload | None:
        """A payload, None when it is absent."""
        if name not in self._members:
            return None
        return read_payload(self._members[name], self._path(name), short=self._short)

    def payloads(self, name: str) -> list[Payload]:
        """A list of payloads."""
        if name not in self._members:
            return []
        return read_payloads(self._members[name], self._path(name), short=self._short)

    def data(self, name: str) -> bytes:
        """Bytes, in base64 of either alphabet."""
        try:
            return from_base64(self.text(name))
        except ValueError:
            raise invalid(f"{self._path(name)}: not base64") from None

    def failure(self, name: str) -> Failure:
        """A failure; an empty one when it is absent."""
        value = self._members.get(name, {})
        try:
            if not isinstance(value, dict):
                raise TypeError("not an object")
            return read_failure(_with_long_payloads(value, self._path(name), short=self._short))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise invalid(f"{self._path(name)}: no failure: {error}") from None

    def payload_map(self, name: str, member: str) -> dict[str, Payload]:
        """`{member: {key: payload}}`: memo, header, search attributes."""
        value = self.message(name, {member})._members.get(member, {})
        if not isinstance(value, dict):
            raise invalid(f"{self._path(name)}.{member}: not an object")
        where = f"{self._path(name)}.{member}"
        return {
            check_text(key, f"a name in {where}"): read_payload(
                part, f"{where}[{key}]", short=self._short
            )
            for key, part in value.items()
        }

    def retry_policy(self, name: str) -> RetryPolicy | None:
        """A retry policy, Temporal's defaults filled in; None when it is absent."""
        if name not in self._members:
            return None
        policy = self.message(
            name,
            {
                "initialInterval",
                "backoffCoefficient",
                "maximumInterval",
                "maximumAttempts",
                "nonRetryableErrorTypes",
            },
        )
        coefficient = policy.real("backoffCoefficient")
        initial_ms, maximum_ms = (
            policy.duration_ms("initialInterval") or 1_000,
            policy.duration_ms("maximumInterval"),
        )
        if coefficient and coefficient < 1:
            raise invalid(f"{self._path(name)}.backoffCoefficient: cannot be less than 1")
        if maximum_ms and maximum_ms < initial_ms:
            raise invalid(
                f"{self._path(name)}.maximumInterval: cannot be less than the initial interval"
            )
        return RetryPolicy(
            initial_interval_ms=initial_ms,
            backoff_coefficient=coefficient or 2.0,
            maximum_interval_ms=maximum_ms,
            maximum_attempts=policy.number("maximumAttempts"),
            non_retryable_error_types=policy.texts("nonRetryableErrorTypes"),
        )


def _is_default(value: Any) -> bool:
    """Whether a value says nothing: protobuf's default, or a message of which each member does."""
    if isinstance(value, dict):
        return all(map(_is_default, value.values()))
    return value in ("", [], 0, "0", False, None)


def _with_long_payloads(value: dict[str, Any], what: str, *, short: bool) -> dict[str, Any]:
    """A failure's JSON with the payloads in it in long form, whatever form they came in."""
    found: dict[str, Any] = {}
    for raw, part in value.items():
        name, where = camel(raw), f"{what}.{raw}"
        if name in found:
            raise invalid(f'proto: duplicate field "{where}"')
        if part is None:
            continue
        if name in ("details", "lastHeartbeatDetails"):
            found[name] = {
                "payloads": [write_payload(one) for one in read_payloads(part, where, short=short)]
            }
        elif name == "encodedAttributes":
            found[name] = write_payload(read_payload(part, where, short=short))
        else:
            found[name] = (
                _with_long_payloads(part, where, short=short) if isinstance(part, dict) else part
            )
    return found


def camel(name: str) -> str:
    """A name of the proto file as the JSON mapping has it."""
    head, *rest = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in rest) if rest else name
