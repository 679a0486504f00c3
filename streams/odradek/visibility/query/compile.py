"""A query's tree to SQL with parameters. No text of the user reaches SQL: names choose among our
own columns or become parameters.

NULL as in SQL: a comparison with a value that a run does not have is neither true nor false, and
NOT of it neither; only IS NULL finds such a run. NOT is pushed down to the conditions first (NOT
(a AND b) = NOT a OR NOT b holds with NULL too), so that each condition may say just which runs
it is true for. That lets a condition over a search attribute be a lookup in its index.

A name that stands for search attributes of several types is compared with each type that takes
the value.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from odradek.visibility.errors import QueryError
from odradek.visibility.query.columns import (
    ATTRIBUTE_TIME_NS,
    COLUMNS,
    PREDEFINED,
    AttributeKey,
    Catalog,
    Column,
    Field,
    ValueType,
    near_names,
    operators_of,
    tie_of,
)
from odradek.visibility.query.conditions import (
    MANY_VALUED,
    ValueTest,
    attribute_ranges,
    attribute_sql,
    attribute_test,
    column_sql,
    make_test,
)
from odradek.visibility.query.terms import Range, Term
from odradek.visibility.query.tree import (
    And,
    Between,
    Comparison,
    Condition,
    Expression,
    In,
    IsNull,
    Literal,
    Name,
    Not,
    Or,
    Query,
    StartsWith,
)
from odradek.visibility.query.values import literal_value

Parameters = list[Any]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One item of ORDER BY. `sql` is an expression over a run `e`, with its parameters."""

    name: str
    sql: str
    parameters: tuple[Any, ...]
    descending: bool
    nullable: bool


@dataclass(frozen=True, slots=True)
class GroupKey:
    """One item of GROUP BY: `columns` of SQL, and the type of their value.

    value_types: of one column, its type. Of an attribute that runs have with several types there
    is a second column, the number of the attribute that the value is of; it names the type.
    """

    name: str
    value_types: Mapping[int, ValueType]
    columns: tuple[str, ...]
    parameters: tuple[Any, ...]

    def value_type(self, number: int | None) -> ValueType:
        """The type of a value, by what the second column has, if there is one."""
        return next(iter(self.value_types.values())) if number is None else self.value_types[number]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A query as SQL over `executions e`. `where` is "1" for every run.

    counted: filter and groups use nothing but columns that `run_counts` has, so that a count may
    ask it instead. equalities: columns that must equal one value, and the value.  table:
    `executions e`, with the index to read it from where SQLite would have to guess.  terms: the
    filter once more, if search attributes are in it.
    """

    query: Query
    where: str
    parameters: tuple[Any, ...]
    order_by: tuple[SortKey, ...]
    group_by: tuple[GroupKey, ...]
    counted: bool
    equalities: Mapping[str, Any]
    table: str = "executions e"
    terms: tuple[Term, ...] = ()


def compile_query(
    query: Query, catalog: Catalog, *, unindexed: Collection[str] = (), now_ms: int = 0
) -> Compiled:
    """SQL of a query. Raises QueryError for names that are not known, and operators and values
    that their types do not take.

    unindexed: columns whose conditions must not choose the index.  now_ms: until when durations
    of open runs count, in orders.
    """
    return _Compiler(query, catalog, unindexed, now_ms).compiled()


class _Compiler:
    def __init__(
        self, query: Query, catalog: Catalog, unindexed: Collection[str], now_ms: int
    ) -> None:
        self._now_ms = now_ms
        self._query = query
        self._unindexed = unindexed
        self._catalog = catalog
        self._counted = True
        self._with_attributes = False
        self._alone = False  # whether attributes are looked up one run at a time

    def compiled(self) -> Compiled:
        query = self._query
        where, parameters = (
            ("1", []) if query.filter is None else self._expression(query.filter, negated=False)
        )
        groups = tuple(self._group_key(name) for name in query.group_by)
        counted = self._counted
        terms = self._terms() if self._with_attributes else ()
        order = tuple(self._sort_key(item.name, item.descending) for item in query.order_by)
        return Compiled(
            query,
            where,
            tuple(parameters),
            order,
            groups,
            counted,
            self._equalities(),
            self._table(),
            terms,
        )

    def _conjuncts(self) -> tuple[Expression, ...]:
        """What AND joins, on the outside."""
        filter_ = self._query.filter
        if filter_ is None:
            return ()
        return filter_.terms if isinstance(filter_, And) else (filter_,)

    def _equalities(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for term in self._conjuncts():
            if isinstance(term, Comparison) and term.operator == "=":
                column = COLUMNS.get(term.name.text)
                if column is not None and column.counted:
                    found[column.sql] = literal_value(
                        column.value_type, term.value, self._query.text
                    )
        return found

    def _table(self) -> str:
        """From a sparse index, if the filter finds none but the rows in it: any condition but IS
        NULL on its column, among terms of AND.
        """
        for stated in self._conjuncts():
            term, negated = stated, False
            while isinstance(term, Not):
                term, negated = term.term, not negated
            if isinstance(term, And | Or):
                continue
            column = COLUMNS.get(term.name.text)
            if (
                column is not None
                and column.sparse
                and not (isinstance(term, IsNull) and term.negated is negated)
            ):
                return f"executions e INDEXED BY {column.sparse}"
        return "executions e"

    # --- terms

    def _terms(self) -> tuple[Term, ...]:
        self._alone = True
        try:
            return tuple(self._term(expression) for expression in self._conjuncts())
        finally:
            self._alone = False

    def _term(self, expression: Expression) -> Term:
        sql, parameters = self._expression(expression, negated=False)
        ranges, exact = self._ranges(expression, negated=False)
        if (
            isinstance(expression, Not | And | Or | IsNull)
            or (column := COLUMNS.get(expression.name.text)) is None
        ):
            single = exact and ranges is not None and self._is_single(expression, ranges)
            return Term(
                sql,
                tuple(parameters),
                ranges,
                exact,
                operator="IS NULL" if isinstance(expression, IsNull) else "",
                single=single,
            )
        return Term(sql, tuple(parameters), column=column.sql, operator=_parts(expression)[0])

    def _is_single(self, expression: Expression, ranges: Sequence[Range]) -> bool:
        """Whether no run has two rows in the ranges of a condition: they do not overlap, and a
        run has one value, or they are of one.
        """
        while isinstance(expression, Not):
            expression = expression.term
        if isinstance(expression, And | Or):
            return False
        field = self._field(expression.name)
        if isinstance(field, Column):
            return False
        several = [key for key in field.keys if key.value_type in MANY_VALUED]
        if isinstance(expression, IsNull):
            return all(
                key.value_type is ValueType.TEXT for key in several
            )  # its text is one row, its words have a number of their own
        return not several or (len(ranges) == 1 and ranges[0].one_value)

    def _ranges(
        self, expression: Expression, *, negated: bool
    ) -> tuple[tuple[Range, ...] | None, bool]:
        """See Term. Of terms that all must hold one's are enough, of alternatives those of each
        are needed.
        """
        if isinstance(expression, Not):
            return self._ranges(expression.term, negated=not negated)
        if isinstance(expression, And | Or):
            parts = [self._ranges(term, negated=negated) for term in expression.terms]
            known = [ranges for ranges, _ in parts if ranges is not None]
            if isinstance(expression, And) is not negated:
                return (known[0] if known else None), False
            if len(known) < len(parts):
                return None, False
            return tuple(one for ranges in known for one in ranges), all(
                exact for _, exact in parts
            )
        field = self._field(expression.name)
        if isinstance(field, Column):
            return None, False
        if isinstance(expression, IsNull):
            if expression.negated is negated:
                return None, False
            return tuple(Range("attribute = ?", (key.id,)) for key in field.keys), True
        operator, literals, _ = _parts(expression)
        tests = self._attribute_tests(
            field.keys, _NEGATED[operator] if negated else operator, literals
        )
        return tuple(one for key, test in tests for one in attribute_ranges(key, test)), not any(
            test.absent for _, test in tests
        )

    # --- expressions

    def _expression(self, expression: Expression, *, negated: bool) -> tuple[str, Parameters]:
        if isinstance(expression, Not):
            return self._expression(expression.term, negated=not negated)
        if isinstance(expression, And | Or):
            word = " AND " if isinstance(expression, And) is not negated else " OR "
            parts = [self._expression(term, negated=negated) for term in expression.terms]
            return "(" + word.join(sql for sql, _ in parts) + ")", [
                value for _, values in parts for value in values
            ]
        return self._condition(expression, negated=negated)

    def _condition(self, condition: Condition, *, negated: bool) -> tuple[str, Parameters]:
        field = self._field(condition.name)
        if isinstance(condition, IsNull):
            return self._null_test(field, wanted_null=condition.negated is negated)
        operator, literals, column = _parts(condition)
        self._check_operator(field, operator, column or condition.name.column)
        if negated:
            operator = _NEGATED[operator]
        if isinstance(field, Column):
            if field.hashed and operator in ("=", "IN"):
                return _hashed(
                    field,
                    [
                        str(literal_value(field.value_type, literal, self._query.text))
                        for literal in literals
                    ],
                )
            mark = "+" if field.sql in self._unindexed else ""
            return column_sql(
                f"{mark}e.{field.sql}",
                self._test(field.value_type, field.unit_ns, operator, literals),
            )
        return self._attribute_condition(field.keys, operator, literals)

    def _attribute_condition(
        self, keys: Sequence[AttributeKey], operator: str, literals: Sequence[Literal]
    ) -> tuple[str, Parameters]:
        as_sql = attribute_test if self._alone else attribute_sql
        parts = [as_sql(key, test) for key, test in self._attribute_tests(keys, operator, literals)]
        return "(" + " OR ".join(sql for sql, _ in parts) + ")", [
            value for _, values in parts for value in values
        ]

    def _attribute_tests(
        self, keys: Sequence[AttributeKey], operator: str, literals: Sequence[Literal]
    ) -> Sequence[tuple[AttributeKey, ValueTest]]:
        tests: list[tuple[AttributeKey, ValueTest]] = []
        first_error: QueryError | None = None
        for key in keys:
            if operator not in operators_of([key.value_type]):
                continue
            try:
                tests.append(
                    (key, self._test(key.value_type, ATTRIBUTE_TIME_NS, operator, literals))
                )
            except QueryError as error:
                first_error = first_error or error
        if not tests:
            assert (
                first_error is not None
            )  # _check_operator saw to it that one type takes the operator
            raise first_error
        return tests

    def _test(
        self, value_type: ValueType, unit_ns: int, operator: str, literals: Sequence[Literal]
    ) -> ValueTest:
        values = [literal_value(value_type, literal, self._query.text) for literal in literals]
        return make_test(value_type, unit_ns, operator, values)

    def _null_test(self, field: Field, *, wanted_null: bool) -> tuple[str, Parameters]:
        if isinstance(field, Column):
            return f"e.{field.sql} IS {'' if wanted_null else 'NOT '}NULL", []
        marks = ", ".join("?" * len(field.keys))
        if self._alone:
            having = (
                "(SELECT 1 FROM search_attributes a WHERE a.execution = e.id AND a.attribute IN"
                f" ({marks}))"
            )
            return f"{'NOT ' if wanted_null else ''}EXISTS {having}", [key.id for key in field.keys]
        having = f"(SELECT execution FROM search_attributes WHERE attribute IN ({marks}))"
        return f"e.id {'NOT ' if wanted_null else ''}IN {having}", [key.id for key in field.keys]

    # --- columns

    def _field(self, name: Name) -> Field:
        column = COLUMNS.get(name.text)
        if column is not None:
            self._counted = self._counted and column.counted
            return column
        self._counted = False
        self._with_attributes = True
        attribute = self._catalog.attribute(name.text) or PREDEFINED.get(name.text)
        if attribute is not None:
            return attribute
        near = near_names(name.text, self._catalog)
        problem = f"{name.text} is neither a column nor a search attribute of any run"
        raise QueryError(
            problem,
            query=self._query.text,
            column=name.column,
            length=name.length,
            suggestions=near,
        )

    def _check_operator(self, field: Field, operator: str, column: int) -> None:
        types = (
            [field.value_type]
            if isinstance(field, Column)
            else [key.value_type for key in field.keys]
        )
        allowed = operators_of(types)
        if operator not in allowed:
            kind = " and ".join(value_type.value for value_type in types)
            self._fail(
                f"{operator} does not go with {field.name} ({kind})", column, len(operator), allowed
            )

    def _sort_key(self, name: Name, descending: bool) -> SortKey:
        field = self._field(name)
        if isinstance(field, Column) and field.value_type is ValueType.KEYWORD_LIST:
            return SortKey(
                field.name,
                f"(SELECT min(value) FROM json_each(e.{field.sql}))",
                (),
                descending,
                field.nullable,
            )
        if isinstance(field, Column) and field.open_since:
            return SortKey(
                field.name,
                f"coalesce(e.{field.sql}, max(0, ? - {field.open_since}))",
                (self._now_ms,),
                descending,
                False,
            )
        if isinstance(field, Column):
            return SortKey(field.name, f"e.{field.sql}", (), descending, field.nullable)
        sql, parameters = self._value_sql([key.id for key in field.keys])
        return SortKey(field.name, sql, parameters, descending, True)

    def _group_key(self, name: Name) -> GroupKey:
        field = self._field(name)
        for value_type in (
            [field.value_type]
            if isinstance(field, Column)
            else [key.value_type for key in field.keys]
        ):
            if value_type in (ValueType.KEYWORD_LIST, ValueType.TEXT):
                self._fail(
                    f"runs cannot be grouped by {name.text} ({value_type.value})",
                    name.column,
                    name.length,
                )
        if isinstance(field, Column):
            return GroupKey(field.name, {0: field.value_type}, (f"e.{field.sql}",), ())
        ids = [key.id for key in field.keys]
        wanted = (
            [self._value_sql(ids)]
            if len(ids) == 1
            else [self._value_sql(ids), self._value_sql(ids, "attribute")]
        )
        columns, parameters = zip(*wanted, strict=True)
        return GroupKey(
            field.name, {key.id: key.value_type for key in field.keys}, columns, sum(parameters, ())
        )

    def _value_sql(self, ids: Sequence[int], column: str = "value") -> tuple[str, tuple[Any, ...]]:
        """The value of an attribute (or the number that it has by name and type), the smallest
        if there are several.
        """
        marks = ", ".join("?" * len(ids))
        return (
            (
                f"(SELECT min(a.{column}) FROM search_attributes a WHERE a.execution = e.id AND"
                f" a.attribute IN ({marks}))"
            ),
            tuple(ids),
        )

    def _fail(
        self, problem: str, column: int, length: int, expected: Sequence[str] = ()
    ) -> NoReturn:
        raise QueryError(
            problem, query=self._query.text, column=column, length=length, expected=expected
        )


_NEGATED = {
    "=": "!=", "!=": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "IN": "NOT IN", "NOT IN": "IN", "BETWEEN": "NOT BETWEEN",
    "NOT BETWEEN": "BETWEEN", "STARTS_WITH": "NOT STARTS_WITH", "NOT STARTS_WITH": "STARTS_WITH",
}  # fmt: skip


def _hashed(column: Column, values: Sequence[str]) -> tuple[str, Parameters]:
    """Equality by the hash, which has the index."""
    marks = ", ".join("?" * len(values))
    return f"(e.tie IN ({marks}) AND e.{column.sql} IN ({marks}))", [
        *(tie_of(value.encode()) for value in values),
        *values,
    ]


def _parts(
    condition: Comparison | In | Between | StartsWith,
) -> tuple[str, tuple[Literal, ...], int]:
    """Operator, values, and the operator's column."""
    prefix = "" if isinstance(condition, Comparison) or not condition.negated else "NOT "
    match condition:
        case Comparison(_, operator, value, column):
            return operator, (value,), column
        case In(_, values, _, column):
            return f"{prefix}IN", values, column
        case Between(_, low, high, _, column):
            return f"{prefix}BETWEEN", (low, high), column
        case StartsWith(_, value, _, column):
            return f"{prefix}STARTS_WITH", (value,), column
