"""Wrong queries say where and what was expected; completion offers what the grammar takes."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odradek.visibility import QueryError, complete, parse
from odradek.visibility.query import STATUS_NAMES, Attribute, AttributeKey, ValueType, compile_query
from odradek.visibility.query.literals import parse_duration_ns, parse_time_ns


class OneOfEach:
    """A catalog with a few attributes."""

    attributes: ClassVar = {
        "CustomerId": (ValueType.KEYWORD,),
        "Amount": (ValueType.INT,),
        "Tags": (ValueType.KEYWORD_LIST,),
        "Note": (ValueType.TEXT,),
        "Paid": (ValueType.BOOL,),
        "Due at": (ValueType.DATETIME,),
        "Mixed": (ValueType.KEYWORD, ValueType.INT),
    }

    def attribute(self, name: str) -> Attribute | None:
        types = self.attributes.get(name)
        return (
            None
            if types is None
            else Attribute(
                name, tuple(AttributeKey(i + 1, name, kind, 99) for i, kind in enumerate(types))
            )
        )

    def attribute_names(self) -> list[str]:
        return sorted(self.attributes)


CATALOG = OneOfEach()


def error_of(query: str) -> QueryError:
    with pytest.raises(QueryError) as caught:
        compile_query(parse(query), CATALOG)
    return caught.value


@pytest.mark.parametrize(
    ("query", "column", "part"),
    [
        (
            "WorkflowTipe = 'x'",
            1,
            (
                "WorkflowTipe is neither a column nor a search attribute of any run. Did you mean"
                " WorkflowType"
            ),
        ),
        ("workflow_type = 'x'", 1, "Did you mean WorkflowType?"),
        ("Status = 'Running'", 1, "Did you mean ExecutionStatus?"),
        ("CustomerID = 'x'", 1, "Did you mean CustomerId?"),
        ("WorkflowId", 11, "the query ends after the name WorkflowId; expected =, !=, <"),
        (
            "WorkflowId = ",
            14,
            "found the end of the query; expected a string in quotes, a number, TRUE or FALSE",
        ),
        ("WorkflowId = abc", 14, "texts and times take quotes: 'abc'"),
        ("WorkflowId = 'abc", 14, "this string does not end: its closing ' is missing"),
        ("WorkflowId LIKE 'a%'", 12, "LIKE is not part of this language; STARTS_WITH is"),
        ("WorkflowId = NULL", 14, "IS NULL and IS NOT NULL ask for it"),
        ("WorkflowId IS 'x'", 15, "expected NULL or NOT NULL"),
        ("WorkflowId NOT = 'x'", 16, "expected IN, BETWEEN or STARTS_WITH"),
        ("WorkflowId IN 'x'", 15, "expected ("),
        ("WorkflowId IN ('x' 'y')", 20, "expected ) or ,"),
        ("(WorkflowId = 'x'", 18, "found the end of the query; expected ), AND or OR"),
        (
            "WorkflowId = 'x')",
            17,
            "found ); expected AND, OR, GROUP BY, ORDER BY or the end of the query",
        ),
        ("WorkflowId = 'x' RunId = 'y'", 18, "found the name RunId; expected AND, OR"),
        ("AND RunId = 'y'", 1, "expected a column or search attribute, NOT or ("),
        ("'x' = WorkflowId", 1, "names take no quotes, or backticks"),
        ("WorkflowId = 'x' ORDER StartTime", 24, "expected BY"),
        ("WorkflowId = 'x' ORDER BY Start", 27, "Did you mean StartTime"),
        ("ORDER BY StartTime LIMIT 5", 20, "found the name LIMIT; expected the end of the query"),
        ("StartTime > 10s", 13, "10s is no number; times and durations stand in quotes"),
        ("StartTime > 2026-11-24", 13, "2026-11-24 is no number"),
        ("StartTime > 'yesterday'", 13, "'yesterday' does not fit; expected a time such as"),
        ("StartTime > '2026-13-01'", 13, "'2026-13-01' does not fit"),
        ("ExecutionDuration > 'ten'", 21, "expected a duration such as '10s' or '1h30m'"),
        ("ExecutionStatus = 'Runing'", 19, "'Runing' is no status. Did you mean Running?"),
        ("ExecutionStatus = 'xyzzy'", 19, "expected 'Running', 'Completed'"),
        (
            "ExecutionStatus > 'Running'",
            17,
            "> does not go with ExecutionStatus (Status); expected =, !=, IN",
        ),
        ("HistoryLength = '7'", 17, "'7' does not fit; expected a number"),
        ("HistoryLength STARTS_WITH '7'", 15, "STARTS_WITH does not go with HistoryLength (Int)"),
        ("HistoryLength > 99999999999999999999", 17, "is too large"),
        ("HistoryLength > 9223372036854775808", 17, "is too large"),
        ("HistoryLength > -9223372036854775809", 17, "is too large"),
        (
            f"HistoryLength > {'9' * 5_000}",
            17,
            "99999999999999999999… is too large: integers have 64 bits",
        ),
        (f"HistoryLength > -{'9' * 5_000}", 17, "is too large: integers have 64 bits"),
        (f"HistoryLength > {'9' * 5_000}.5", 17, "99999999999999999999… is too large"),
        (
            f"ExecutionDuration > '{'9' * 5_000}s'",
            21,
            "expected a duration such as '10s' or '1h30m'",
        ),
        (
            f"ExecutionDuration > '1.{'9' * 5_000}s'",
            21,
            "expected a duration such as '10s' or '1h30m'",
        ),
        (
            f"ExecutionDuration > '{'9' * 5_000}:00:00'",
            21,
            "expected a duration such as '10s' or '1h30m'",
        ),
        ("Amount = 'x'", 10, "expected a number"),
        ("Tags > 'x'", 6, "> does not go with Tags (KeywordList)"),
        ("Note IN ('x')", 6, "IN does not go with Note (Text)"),
        ("Note = '...'", 8, "with a word in it"),
        ("Paid = 'yes'", 8, "expected TRUE or FALSE"),
        ("`Due at` > 'x'", 12, "expected a time such as"),
        ("Mixed = TRUE", 9, "TRUE does not fit; expected a string in quotes"),
        ("GROUP BY Tags", 10, "runs cannot be grouped by Tags (KeywordList)"),
        ("WorkflowId = 'x' ; DROP TABLE executions", 18, "';' begins nothing that is known here"),
        ("`` = 'x'", 1, "a name between backticks is empty"),
        ("NOT", 4, "found the end of the query"),
        ("IN = 'x'", 1, "a column of that name stands between backticks"),
    ],
)
def test_a_wrong_query_says_where_and_what_was_expected(query: str, column: int, part: str) -> None:
    error = error_of(query)
    assert error.column == column
    assert part in str(error)
    assert str(error).startswith(f"column {column}: ")


def test_zeros_in_front_make_no_number_large() -> None:
    compiled = compile_query(parse(f"HistoryLength > {'0' * 5_000}7"), CATALOG)
    assert compiled.parameters == (7,)


def test_the_pointer_marks_the_place_in_its_line() -> None:
    error = error_of("WorkflowId = 'x'\n  AND Stattus = 'y'")
    assert error.pointer == "  AND Stattus = 'y'\n      ^^^^^^^"


PIECES = [
    *(
        "WorkflowId",
        "StartTime",
        "CustomerId",
        "`Due at`",
        "Tags",
        "nobody",
        "=",
        "!=",
        "<>",
        "<",
        ">=",
        "AND",
        "or",
        "NOT",
        "IN",
        "BETWEEN",
    ),
    *(
        "STARTS_WITH",
        "IS",
        "NULL",
        "ORDER",
        "GROUP",
        "BY",
        "DESC",
        "(",
        ")",
        ",",
        "'x'",
        '"y"',
        "'2026-11-24'",
        "7",
        "-1.5e3",
        "TRUE",
        "'",
        "`",
    ),
    *("\n", "\\", ";", "--", "\x00", "ü", "%"),
]


@given(pieces=st.lists(st.sampled_from(PIECES), max_size=12), raw=st.text(max_size=5))
def test_any_text_is_a_query_or_an_error_that_says_where(pieces: list[str], raw: str) -> None:
    query = " ".join([*pieces, raw])
    try:
        compile_query(parse(query), CATALOG)
    except QueryError as error:
        assert 1 <= error.column <= len(query) + 1
        assert error.pointer.count("^") >= 1 and str(error).startswith("column ")


def test_bounds() -> None:
    assert "300 conditions" in str(error_of(" OR ".join(["RunId = 'x'"] * 301)))
    assert "100 levels" in str(error_of("(" * 101 + "RunId = 'x'" + ")" * 101))
    assert "1000 values" in str(error_of(f"RunId IN ({', '.join(['1'] * 1001)})"))
    assert "65536" in str(error_of("x" * 65_537))
    compile_query(parse(" AND ".join(["RunId = 'x'"] * 300)), CATALOG)


def test_no_text_of_a_query_reaches_sql() -> None:
    nasty = "x'; DROP TABLE executions; --"
    query = (
        f"WorkflowId = '{nasty.replace(chr(39), chr(39) * 2)}' AND CustomerId STARTS_WITH"
        f' "{nasty}" ORDER BY CustomerId'
    )
    compiled = compile_query(parse(query), CATALOG)
    assert "DROP" not in compiled.where and "DROP" not in compiled.order_by[0].sql
    assert nasty in compiled.parameters


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 10**9),
        ("1970-01-01", 0),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
        ("1970-01-01 00:00", 0),
        ("1970-01-01T00:00:00+99:00", None),
        ("1970-02-30", None),
        ("now", None),
        ("", None),
    ],
)
def test_times(text: str, nanoseconds: int | None) -> None:
    assert parse_time_ns(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("10s", 10 * 10**9),
        ("1h30m", 5400 * 10**9),
        ("1.5s", 1_500_000_000),
        ("250ms", 250_000_000),
        ("1d", 86_400 * 10**9),
        ("-2us", -2_000),
        ("01:02:03", 3723 * 10**9),
        ("0", 0),
        ("10", None),
        ("s", None),
        ("", None),
        ("9999999999h", None),
    ],
)
def test_durations(text: str, nanoseconds: int | None) -> None:
    assert parse_duration_ns(text) == nanoseconds


def suggested(query: str) -> list[str]:
    completion = complete(
        query,
        len(query),
        CATALOG,
        lambda name, prefix: [v for v in ("OrderSaga", "O'Neil") if v.startswith(prefix)],
    )
    assert completion.error is None
    return [suggestion.text for suggestion in completion.suggestions]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("", ["WorkflowId", "WorkflowType"]),
        ("Workf", ["WorkflowId", "WorkflowType"]),
        ("cust", ["CustomerId"]),
        ("due", ["`Due at`"]),
        ("ExecutionStatus ", ["=", "!=", "IN", "NOT IN", "IS NULL"]),
        ("ExecutionStatus = ", ["'Running'", "'Completed'"]),
        ("ExecutionStatus IN ('Failed', 'T", ["'Terminated'", "'TimedOut'"]),
        ("WorkflowType = 'Or", ["'OrderSaga'"]),
        ("WorkflowType = \"O'", ["'O''Neil'"]),
        ("Paid = ", ["TRUE", "FALSE"]),
        ("WorkflowType = 'x' ", ["AND", "OR", "GROUP BY", "ORDER BY"]),
        ("(WorkflowType = 'x' ", [")", "AND", "OR"]),
        ("WorkflowType = 'x' ORDER ", ["BY"]),
        ("ORDER BY Sta", ["StartTime", "StateTransitionCount"]),
        ("ORDER BY StartTime ", ["DESC", "ASC"]),
        ("WorkflowId NOT ", ["IN", "BETWEEN", "STARTS_WITH"]),
    ],
)
def test_completion(query: str, first: list[str]) -> None:
    assert suggested(query)[: len(first)] == first


def test_completion_for_a_list_has_no_groups() -> None:
    """A list refuses GROUP BY: not offered there, also not at the beginning."""
    for query in ("", "WorkflowType = 'x' "):
        offered = {
            one.text for one in complete(query, len(query), CATALOG, grouping=False).suggestions
        }
        assert "ORDER BY" in offered and "GROUP BY" not in offered


def test_completion_inside_a_query_replaces_the_word_at_the_cursor() -> None:
    completion = complete("ExecutionSta = 'Running'", 12, CATALOG)
    assert (completion.start, completion.end) == (0, 12)
    assert completion.suggestions[0].text == "ExecutionStatus"


def test_completion_of_a_query_that_is_already_wrong_says_so() -> None:
    completion = complete("WorkflowId = = ", 15, CATALOG)
    assert (
        completion.suggestions == ()
        and completion.error is not None
        and completion.error.column == 14
    )


def test_statuses_by_temporals_numbers() -> None:
    """As Temporal's query converter takes them; scripts of its early days write them."""

    def compiled(query: str) -> tuple[str, Any]:
        found = compile_query(parse(query), CATALOG)
        return found.where, found.parameters

    for number, name in enumerate(STATUS_NAMES.values(), 1):
        assert compiled(f"ExecutionStatus = {number}") == compiled(f"ExecutionStatus = '{name}'")
    assert compiled("ExecutionStatus IN (1, 'Failed')") == compiled(
        "ExecutionStatus IN ('Running', 'Failed')"
    )
    for wrong in ("0", "8", "1.0", "TRUE"):
        assert "expected 'Running'" in str(error_of(f"ExecutionStatus = {wrong}"))
