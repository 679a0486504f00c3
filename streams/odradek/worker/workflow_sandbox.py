"""Names of Temporal's workflow sandbox, so that code which configures one imports and runs.

What is configured here is kept and can be read back, but **not enforced**: workflow code runs as
it is imported, in the worker's interpreter. Determinism is held by the event loop, by replay
checks and by the watchdog, not by proxies around modules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from odradek.exceptions import TemporalError
from odradek.worker._runner import UnsandboxedWorkflowRunner, WorkflowRunner
from odradek.workflow import NondeterminismError

__all__ = [
    "RestrictedWorkflowAccessError",
    "SandboxMatcher",
    "SandboxRestrictions",
    "SandboxedWorkflowRunner",
    "UnintentionalPassthroughError",
]


class RestrictedWorkflowAccessError(NondeterminismError):
    """Workflow code used something that is not deterministic. Never raised by this version:
    nothing is restricted.
    """

    def __init__(self, qualified_name: str, *, override_message: str | None = None) -> None:
        super().__init__(override_message or self.default_message(qualified_name))
        self.qualified_name = qualified_name

    @staticmethod
    def default_message(qualified_name: str) -> str:
        """The message for one name."""
        return (
            f"Cannot access {qualified_name} from inside a workflow: it may give another result at"
            " replay. Use it in an activity"
        )


class UnintentionalPassthroughError(TemporalError):
    """A module was passed into the sandbox without being named. Never raised by this version."""

    def __init__(self, qualified_name: str) -> None:
        super().__init__(
            f"Module {qualified_name} was not intentionally passed through to the sandbox"
        )
        self.qualified_name = qualified_name


@dataclass(frozen=True)
class SandboxMatcher:
    """Names of modules and their members, as a tree."""

    access: set[str] | frozenset[str] = frozenset()
    use: set[str] | frozenset[str] = frozenset()
    children: Mapping[str, SandboxMatcher] = field(default_factory=dict)
    match_self: bool = False
    only_runtime: bool = False
    leaf_message: str | None = None
    leaf_warning: type[Warning] | None = None
    exclude: set[str] | frozenset[str] = frozenset()

    all: ClassVar[SandboxMatcher]
    all_runtime: ClassVar[SandboxMatcher]
    all_uses: ClassVar[SandboxMatcher]
    all_uses_runtime: ClassVar[SandboxMatcher]
    none: ClassVar[SandboxMatcher]

    @classmethod
    def nested_child(cls, path: Sequence[str], child: SandboxMatcher) -> SandboxMatcher:
        """A tree that holds `child` under `path`."""
        for name in reversed(path):
            child = cls(children={name: child})
        return child

    def child_matcher(self, *child_path: str) -> SandboxMatcher | None:
        """The subtree under a path, if there is one."""
        found: SandboxMatcher | None = self
        for name in child_path:
            found = found.children.get(name) if found is not None else None
        return found

    def __or__(self, other: SandboxMatcher) -> SandboxMatcher:
        children = dict(self.children)
        for name, child in other.children.items():
            children[name] = children[name] | child if name in children else child
        return SandboxMatcher(
            access=set(self.access) | set(other.access),
            use=set(self.use) | set(other.use),
            children=children,
            match_self=self.match_self or other.match_self,
            only_runtime=self.only_runtime or other.only_runtime,
            leaf_message=self.leaf_message or other.leaf_message,
            leaf_warning=self.leaf_warning or other.leaf_warning,
            exclude=set(self.exclude) | set(other.exclude),
        )

    def with_child_unrestricted(self, *child_path: str) -> SandboxMatcher:
        """A copy without anything under `child_path`."""
        name, rest = child_path[0], child_path[1:]
        children = dict(self.children)
        child = children.pop(name, None)
        if rest and child is not None:
            children[name] = child.with_child_unrestricted(*rest)
        gone = set() if rest else {name}
        return dataclasses.replace(
            self, access=set(self.access) - gone, use=set(self.use) - gone, children=children
        )


SandboxMatcher.all = SandboxMatcher(access={"*"})
SandboxMatcher.all_runtime = SandboxMatcher(access={"*"}, only_runtime=True)
SandboxMatcher.all_uses = SandboxMatcher(use={"*"})
SandboxMatcher.all_uses_runtime = SandboxMatcher(use={"*"}, only_runtime=True)
SandboxMatcher.none = SandboxMatcher()


@dataclass(frozen=True)
class SandboxRestrictions:
    """What a sandbox would pass through and what it would refuse."""

    passthrough_modules: set[str] = field(default_factory=set)
    invalid_modules: SandboxMatcher = SandboxMatcher.none
    invalid_module_members: SandboxMatcher = SandboxMatcher.none
    passthrough_all_modules: bool = False
    disable_lazy_sys_module_passthrough: bool = False

    passthrough_modules_minimum: ClassVar[set[str]] = {"odradek"}
    passthrough_modules_with_temporal: ClassVar[set[str]] = {"odradek"}
    passthrough_modules_maximum: ClassVar[set[str]] = {"odradek"}
    passthrough_modules_default: ClassVar[set[str]] = {"odradek"}
    invalid_module_members_default: ClassVar[SandboxMatcher] = SandboxMatcher.none
    default: ClassVar[SandboxRestrictions]

    def with_passthrough_modules(self, *modules: str) -> SandboxRestrictions:
        """A copy that passes these modules through too."""
        return dataclasses.replace(
            self, passthrough_modules=self.passthrough_modules | set(modules)
        )

    def with_passthrough_all_modules(self) -> SandboxRestrictions:
        """A copy that passes every module through."""
        return dataclasses.replace(self, passthrough_all_modules=True)


SandboxRestrictions.default = SandboxRestrictions(
    passthrough_modules=set(SandboxRestrictions.passthrough_modules_default)
)


class SandboxedWorkflowRunner(WorkflowRunner):
    """Keeps the restrictions it is given; workflow code runs unsandboxed, as under
    `UnsandboxedWorkflowRunner`.
    """

    def __init__(
        self,
        *,
        restrictions: SandboxRestrictions = SandboxRestrictions.default,
        runner_class: type[WorkflowRunner] = UnsandboxedWorkflowRunner,
    ) -> None:
        self.restrictions = restrictions
        self.runner_class = runner_class
