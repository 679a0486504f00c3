"""How workflow code is run. Odradek runs it in one way: on the deterministic loop of
`odradek.activation`, without a sandbox.
"""

from __future__ import annotations


class WorkflowRunner:
    """Base of what `Worker(workflow_runner=…)` takes. Objects of it are hints: they change
    nothing about how code is run.
    """


class UnsandboxedWorkflowRunner(WorkflowRunner):
    """Runs workflow code as it is imported. This is what every worker of Odradek does."""
