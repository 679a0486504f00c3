"""Errors of the wire room. They name the cause and the cure; hosts turn them into dead letters
or into the errors users see.

WireError
├── UndecodableRecord       bytes that are no record of ours (garbage, truncated, no such type)
│   ├── UnknownSchemaError  framed by a schema that nobody published
│   └── NewerFormatError    a state row that newer code wrote
├── UnencodableRecord       a record whose fields do not hold what their types say
├── JsonInputError          a plain JSON event that is wrong, with the field
└── TopicNameError          a namespace, queue or prefix that makes no legal topic name
"""

from __future__ import annotations


class WireError(Exception):
    """Base of the errors of this room."""


class UndecodableRecord(WireError):
    """Bytes that cannot be read as a record. The record goes to dead letters; what its headers
    route is failed with this text.
    """


class UnknownSchemaError(UndecodableRecord):
    """The writer's schema is known to nobody. `schema_id` is the fingerprint (hex) or the
    registry's number.

    may_come: it may still be published where this process looks; False: there is nowhere to
    look, so waiting for it helps nobody.
    """

    def __init__(self, schema_id: str, where: str, *, may_come: bool = True) -> None:
        super().__init__(
            f"record written with schema {schema_id}, which {where} does not hold; a writer"
            " publishes its schema before its first record"
        )
        self.schema_id = schema_id
        self.may_come = may_come


class NewerFormatError(UndecodableRecord):
    """A state row with a newer format version than this code knows: upgrade this process; the
    row is left alone.
    """

    def __init__(self, row: str, found: int, known: int) -> None:
        super().__init__(
            f"state row {row} has format {found}, this version reads up to {known}: upgrade this"
            " process"
        )
        self.found = found
        self.known = known


class UnencodableRecord(WireError, TypeError):
    """A record of ours that holds a value of the wrong type: a defect of the code that made it."""


class JsonInputError(WireError, ValueError):
    """A plain JSON event that is wrong. The text names the field."""


class TopicNameError(WireError, ValueError):
    """A namespace, task queue or prefix that cannot be written as a topic name."""
