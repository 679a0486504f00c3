"""YAML as its specification has it: a key stands once in a mapping. PyYAML alone takes the last
of several, silently.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

# What PyYAML quotes in its errors: marks and names of tokens, which are its own words, or a piece
# of the text.
_OWN_WORDS = re.compile(r"""(?:[^'"]|'(?:<[a-z ]+>|[^\w'"\\]|\\[tn])')*""")


class NotYamlError(yaml.YAMLError):
    """What is no YAML, in one line with its place. Without the text that stands there, which
    PyYAML would show: it may be a password.
    """


class RepeatedKeyError(yaml.YAMLError):
    """A key stands twice in one mapping. The text names it, and both lines."""


def load_yaml(text: str) -> Any:
    """The value of a YAML text, by PyYAML's safe loader. Raises yaml.YAMLError, NotYamlError and
    RepeatedKeyError among them.
    """
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        said = ((error.context, error.context_mark), (error.problem, error.problem_mark))
        raise NotYamlError(
            ": ".join(_without_the_text(words) + _place(mark) for words, mark in said if words)
        ) from None


def _without_the_text(words: str) -> str:
    own = _OWN_WORDS.match(words)
    end = own.end() if own else 0
    return words if end == len(words) else f"{words[:end]}…"


def _place(mark: yaml.Mark | None) -> str:
    return f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""


class _Loader(yaml.SafeLoader):
    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Looks at the keys as they are written: later, merges (`<<`) put others beside them,
        which may be the same.
        """
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            line = key.start_mark.line + 1
            before = lines.get((key.tag, key.value))
            if before is not None:
                raise RepeatedKeyError(
                    f"`{key.value}` stands twice in one mapping, in lines {before} and {line}"
                )
            lines[key.tag, key.value] = line
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """As ever, but of `2024-02-31` or `!!int x` PyYAML's functions raise what comes, with
        the value in it.
        """
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError):
            raise ConstructorError(
                None, None, "found a value that is not of its type", node.start_mark
            ) from None
