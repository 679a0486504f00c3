"""`odradek workflow …`. Commands, options and output as `temporal workflow` has them; what is
ours alone is said in their help.

`start.py` starts and waits; `describe.py`, `read.py` and `trace.py` look at one workflow,
`lists.py` at many; `change.py` changes one or those of a query.
"""

from __future__ import annotations

from odradek.cli.app import Commands, add_group
from odradek.cli.workflow import change, describe, lists, read, start, trace

EXAMPLES = (
    """odradek workflow start -w order-1 --type OrderWorkflow -t orders -i '{"product": "spool"}'""",
    (
        "odradek workflow execute -w order-2 --type OrderWorkflow -t orders --input-file order.json"
        " -o json"
    ),
    """odradek workflow signal -w order-1 --name cancel-order -i '"changed my mind"'""",
    """odradek workflow list --query "WorkflowType = 'OrderWorkflow' AND ExecutionStatus = 'Failed'" """.strip(),
    "odradek workflow show -w order-1 -o json",
)
NOTES = """Without --task-queue a workflow is located in all task queues of the namespace. Lists, counts and --query are answered by
`odradek server` (--server-address, or the setting `server_address`)."""


def register(commands: Commands) -> None:
    """Add the group and its commands."""
    actions = add_group(
        commands,
        "workflow",
        help="start workflows and talk to them",
        examples=EXAMPLES,
        notes=NOTES,
    )
    start.register(actions)
    describe.register(actions)
    read.register(actions)
    trace.register(actions)
    lists.register(actions)
    change.register(actions)
