"""`Payload` and `Payloads`: the classes that travel on the wire, under Temporal's path.
Re-exports only.
"""

from odradek.wire.payload import Payload, Payloads

__all__ = ["Payload", "Payloads"]
