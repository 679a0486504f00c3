"""The changelog of the windows, topic `windows`: what a server counts is published there, and
what its disk has lost is restored from it.

Runs leave `executions` when their retention ends, windows stay for 30 days: a store that begins
anew could not count what is gone. docs/decisions/0008-the-read-sides-changelog.md.
"""
