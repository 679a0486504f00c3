"""A failure made short, for a topic that does not take all of it: what it is and whether it may
be tried again stay, its texts do not.

A record that is refused says nothing at all, and a failure in its place would tell the wrong story.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec

from odradek.wire.clean import LINKS_MAX
from odradek.wire.payload import Failure, Payload

#: Characters of a text and bytes of payloads that each link keeps, and links: from what most topics
#: take to what the smallest does.
STEPS = (
    (100_000, LINKS_MAX),
    (10_000, LINKS_MAX),
    (1_000, LINKS_MAX),
    (1_000, 10),
    (200, 3),
    (50, 1),
)

_NAME_MAX = 1_000  # characters of a type, an id and the like


def cut_failure(failure: Failure, room: int, links: int) -> Failure:
    """A copy of the chain with `links` links at most, each with texts of `room` characters and
    payloads of as many bytes at most.
    """
    chain: list[Failure] = []
    link: Failure | None = failure
    while link is not None and len(chain) < links:
        chain.append(_cut_link(link, room))
        link = link.cause
    for outer, inner in pairwise(chain):
        outer.cause = inner
    return chain[0]


def _cut_link(link: Failure, room: int) -> Failure:
    encoded = link.encoded_attributes
    return msgspec.structs.replace(
        link,
        message=(
            link.message
            if len(link.message) <= room
            else f"{link.message[:room]}… [cut, of {len(link.message)} characters]"
        ),
        # Its end is where it was raised.
        stack_trace=(
            link.stack_trace
            if len(link.stack_trace) <= room
            else f"[cut] …{link.stack_trace[-room:]}"
        ),
        type=link.type[:_NAME_MAX],
        source=link.source[:_NAME_MAX],
        details=link.details if sum(map(_bytes, link.details)) <= room else [],
        encoded_attributes=encoded if encoded is None or _bytes(encoded) <= room else None,
        cause=None,
    )


def _bytes(payload: Payload) -> int:
    return len(payload.data) + sum(
        len(name) + len(value) for name, value in payload.metadata.items()
    )
