"""Types that parameters share."""

from __future__ import annotations

from typing import Annotated

import msgspec

#: As in the client: Temporal's limit of ids, which queue names keep too.
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
OptionalId = Annotated[str, msgspec.Meta(max_length=1_000)]
Query = Annotated[
    str,
    msgspec.Meta(max_length=10_000, description="Filter, `ORDER BY` and, for counts, `GROUP BY`."),
]
RunId = Annotated[
    str, msgspec.Meta(max_length=1_000, description="A run; the latest when left out.")
]
TaskQueue = Annotated[
    str,
    msgspec.Meta(max_length=1_000, description="The queue that is meant, when two have the id."),
]
PageSize = Annotated[int, msgspec.Meta(ge=1, le=1_000, description="At most so many.")]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799_999)]
