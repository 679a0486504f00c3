"""What is no YAML is told with its place, and without the text that stands there: it may be a
password.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from odradek.yaml_text import load_yaml


@pytest.fixture
def load() -> Callable[[str], Any]:
    return load_yaml


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("@S3CRET", r"found character '@' that cannot start any token \(line 2, column 8\)"),
        ("%S3CRET", r"found character '%' that cannot start any token \(line 2, column 8\)"),
        ("\tS3CRET: x", r"\(line 2, column 8\)"),
        (
            '"S3CRET',
            (
                r"while scanning a quoted scalar \(line 2, column 8\): found unexpected end of"
                r" stream \(line 3, column 1\)"
            ),
        ),
        (r'"\S3CRET"', r"found unknown escape character … \(line 2, column 10\)"),
        ("'a' S3CRET", r"\(line 2, column 12\)"),
        ("{S3CRET: x", r"expected ',' or '}', but got '<stream end>' \(line 3, column 1\)"),
        ("S3CRET: x", r"mapping values are not allowed here \(line 2, column 14\)"),
        ("a\nS3CRET", r"could not find expected ':' \(line 4, column 1\)"),
        ("*S3CRET", r"found undefined alias … \(line 2, column 8\)"),
        (
            "[&S3CRET a, &S3CRET b]",
            (
                r"found duplicate anchor … \(line 2, column 9\): second occurrence \(line 2, column"
                r" 20\)"
            ),
        ),
        ("!S3CRET x", r"could not determine a constructor for the tag … \(line 2, column 8\)"),
        ("!a'%22S3CRET x", r"could not determine a constructor for the tag … \(line 2, column 8\)"),
        ("!S3CRET! x", r"\(line 2, column 8\)"),
        ("!!binary é'S3CRET", r"failed to convert base64 data into ascii: … \(line 2, column 8\)"),
        ("&a [*a, {*a : S3CRET}]", r"\(line 2, column "),
        # PyYAML raises errors of its constructors' own for these.
        ("!!int S3CRET", r"found a value that is not of its type \(line 2, column 8\)"),
        ("!!bool S3CRET", r"found a value that is not of its type \(line 2, column 8\)"),
        ("!!timestamp S3CRET", r"found a value that is not of its type \(line 2, column 8\)"),
        ("{a: !!int ''}", r"found a value that is not of its type \(line 2, column 12\)"),
        ("2024-02-31", r"found a value that is not of its type \(line 2, column 8\)"),
    ],
)
def test_what_is_wrong_is_told_without_the_text(
    load: Callable[[str], Any], value: str, said: str
) -> None:
    with pytest.raises(yaml.YAMLError, match=said) as caught:
        load(f"address: a:1\ntoken: {value}\n")
    shown = "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in shown.lower() and "\n" not in str(caught.value)


def test_a_tab_is_named(load: Callable[[str], Any]) -> None:
    with pytest.raises(
        yaml.YAMLError,
        match=r"found character '\\t' that cannot start any token \(line 2, column 1\)",
    ):
        load("odradek:\n\taddress: a:1\n")


def test_a_key_that_stands_twice_is_named(load: Callable[[str], Any]) -> None:
    with pytest.raises(yaml.YAMLError, match="`a` stands twice in one mapping, in lines 1 and 3"):
        load("a: 1\nb: 2\na: 3\n")


def test_what_is_yaml_is_read(load: Callable[[str], Any]) -> None:
    assert load("a: [1, 2.5, yes, 'x', 2024-02-28]\nb: &b {c: null}\nd: *b\n")["d"] == {"c": None}
