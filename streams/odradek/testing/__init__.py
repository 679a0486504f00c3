"""What tests of workflows and activities run in, in memory."""

from odradek.testing.activity_environment import ActivityEnvironment

__all__ = ["ActivityEnvironment"]
