"""`Failure`: the class that travels on the wire, under Temporal's path. Flat, not Temporal's
oneof; see `odradek.wire.payload`.
"""

from odradek.wire.payload import Failure

__all__ = ["Failure"]
