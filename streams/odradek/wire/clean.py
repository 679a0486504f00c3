"""Text that only describes an error, made such that UTF-8 can carry it.

Python's strings may hold lone surrogates (a file name through `os.fsdecode`, `"\\ud800"` in
JSON), which no Avro string can. A failure that says too little helps nobody, one that cannot be
written is lost: here `\\udcff` in a message becomes the six characters `\\udcff`.
"""

from __future__ import annotations

from typing import Any

from odradek.wire.payload import Failure

#: Links of a failure chain that are kept. Records are written by recursion.
LINKS_MAX = 150

# The texts of a link. `kind` too: a failure converter of the user's fills the record in.
_TEXTS = (
    "message",
    "kind",
    "source",
    "stack_trace",
    "type",
    "category",
    "timeout_type",
    "retry_state",
    "identity",
    "activity_type",
    "activity_id",
    "namespace",
    "workflow_id",
    "run_id",
    "workflow_type",
)


def clean_text(text: Any) -> str:
    """The text with lone surrogates written out; `str()` of what is no text."""
    written = text if type(text) is str else str(text)
    return written if written.isascii() else written.encode("utf-8", "backslashreplace").decode()


def clean_link(failure: Failure) -> None:
    """Clean the texts of one link of a failure chain, in place."""
    for name in _TEXTS:
        text = getattr(failure, name)
        if type(text) is not str or not text.isascii():
            setattr(failure, name, clean_text(text))


def clean_failure(failure: Failure) -> None:
    """Clean the texts of a whole chain, in place, and end it where it has no end or far too many
    links. Payloads are left alone.
    """
    link: Failure | None = failure
    for _ in range(LINKS_MAX - 1):
        if link is None:
            return
        clean_link(link)
        link = link.cause
    if link is not None:
        clean_link(link)
        link.cause = None
