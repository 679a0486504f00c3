"""The order saga's services: what a user would deploy. Each folder is a process of its own with
a small SQLite database of its own.

`payments` and `notifications` do not import odradek: they know `docs/wire.md` and
`schemas/*.avsc` alone.
"""
