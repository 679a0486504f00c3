"""YAML where a key stands once in a mapping: PyYAML alone takes the last of several, silently. For services without odradek."""

from __future__ import annotations

from typing import Any

import yaml


class RepeatedKeyError(yaml.YAMLError):
    """A key stands twice in one mapping. The text names it, and both lines."""


def load_yaml(text: str) -> Any:
    """The value of a YAML text, by PyYAML's safe loader. Raises yaml.YAMLError, RepeatedKeyError among them."""
    return yaml.load(text, _Loader)  # a SafeLoader


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Looks at the keys as they are written: later, merges (`<<`) put others beside them, which may be the same."""
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            before = lines.get((key.tag, key.value))
            if before is not None:
                raise RepeatedKeyError(f"`{key.value}` stands twice in one mapping, in lines {before} and {line}")
            lines[key.tag, key.value] = line
        return node
