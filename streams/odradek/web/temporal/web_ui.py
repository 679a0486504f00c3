"""Settings of Temporal's web UI: what its pages ask their own server for, beside the API, before
they show anything.

So the built pages work behind any web server that passes `/api/v1` on to this one. What would be
answered 501 is switched off: its buttons are grey then, with the reason, instead of failing once
pressed.
"""

from __future__ import annotations

from typing import Any

from odradek.web.security.gate import may_write
from odradek.web.temporal.endpoint import Call

#: The version that was tried. Pages show it as theirs, and decide by it how they encode paths.
UI_VERSION = "2.58.1"


async def settings(call: Call) -> dict[str, Any]:
    """Names as its server writes them. Logging in is this server's business, or that of a proxy:
    `Auth` is off.
    """
    return {
        "Auth": {"Enabled": False},
        "Codec": {"Endpoint": ""},
        "CustomUI": {"Enabled": False},
        "DefaultNamespace": call.server.namespace,
        "DisableNewsFetch": True,
        "Version": UI_VERSION,
        "DisableWriteActions": not may_write(call.request, call.server.options),
        "WorkflowUpdateDisabled": True,
        "WorkflowResetDisabled": True,
        "WorkflowPauseDisabled": True,
        "ActivityCommandsDisabled": True,
    }
