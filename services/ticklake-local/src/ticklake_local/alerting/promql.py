"""The part of Prometheus' query language that the alert rules use, by its documentation.

`promql_parser` reads the text. Supported are selectors with offset, `rate`, `increase`, `min_over_time`,
`max_over_time`, `predict_linear`, `time`, `scalar`, `vector`, `absent`, the aggregations below, arithmetic,
comparisons, and `and`, `or`, `unless`, with `on` and `ignoring`.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

import promql_parser as parser

from ticklake_local.alerting.ranges import RANGE_FUNCTIONS
from ticklake_local.alerting.series import NO_LABELS, Labels, Samples, Series

Vector: TypeAlias = dict[Labels, float]
Value: TypeAlias = float | Vector

LOOK_BACK_SECONDS = 300.0
"""For how long the last sample of a series counts."""

_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda a, b: a / b if b else math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a),
}
_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
    ">=": operator.ge,
    "<=": operator.le,
}
_SETS = ("and", "or", "unless")
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "count": len,
    "group": lambda _: 1.0,
    "avg": lambda v: sum(v) / len(v),
}
_FUNCTIONS = ("time", "scalar", "vector", "absent", *RANGE_FUNCTIONS)


class Unsupported(ValueError):
    """A query asks for more than is understood here."""


class Query:
    """One expression, read and checked.

    Raises:
        Unsupported: it asks for more than is understood here.
    """

    def __init__(self, text: str) -> None:
        self._tree: Any = parser.parse(text)
        self.text = text
        self.metrics: set[str] = set()
        """Metrics that it asks for."""
        self.reach_seconds = LOOK_BACK_SECONDS
        """How far back it looks."""
        for node in _nodes(self._tree):
            self._check(node)

    def _check(self, node: Any) -> None:
        known = True
        if isinstance(node, parser.VectorSelector):
            known = bool(node.name) and node.at is None and not node.matchers.or_matchers
            self.metrics.add(node.name or "")
        elif isinstance(node, parser.MatrixSelector):
            back = node.range + (node.vector_selector.offset or node.range * 0)
            self.reach_seconds = max(self.reach_seconds, back.total_seconds())
        elif isinstance(node, parser.Call):
            known = node.func.name in _FUNCTIONS
        elif isinstance(node, parser.AggregateExpr):
            known = str(node.op) in _AGGREGATIONS
        elif isinstance(node, parser.BinaryExpr):
            known = str(node.op) in (*_ARITHMETIC, *_COMPARISONS, *_SETS)
            known = known and not (node.modifier and node.modifier.return_bool)
        elif not isinstance(node, parser.NumberLiteral | parser.ParenExpr):
            known = False
        if not known:
            raise Unsupported(f"not understood here: {node.prettify()}")

    def at(self, samples: Samples, time: float) -> Vector:
        """Its value at `time`, in seconds since 1970; a number is a vector of one without labels."""
        value = _Evaluation(samples, time).value(self._tree)
        return value if isinstance(value, dict) else {NO_LABELS: value}


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector"):
        if (part := getattr(node, name, None)) is not None:
            yield from _nodes(part)
    for part in getattr(node, "args", ()):
        yield from _nodes(part)


class _Evaluation:
    def __init__(self, samples: Samples, time: float) -> None:
        self._samples, self._time = samples, float(time)

    def value(self, node: Any) -> Value:
        if isinstance(node, parser.NumberLiteral):
            return float(node.val)
        if isinstance(node, parser.ParenExpr):
            return self.value(node.expr)
        if isinstance(node, parser.VectorSelector):
            time = self._time - _seconds(node.offset)
            found = ((labels, series.at(time, LOOK_BACK_SECONDS)) for labels, series in self._select(node))
            return {labels: value for labels, value in found if value is not None}
        if isinstance(node, parser.Call):
            return self._call(node)
        if isinstance(node, parser.AggregateExpr):
            return _aggregate(node, self._vector(node.expr))
        return self._binary(node)

    def _vector(self, node: Any) -> Vector:
        value = self.value(node)
        return value if isinstance(value, dict) else {NO_LABELS: value}

    def _select(self, node: Any) -> Iterator[tuple[Labels, Series]]:
        for labels, series in self._samples.of(node.name):
            values = dict(labels)
            if all(_matches(each, values.get(each.name, "")) for each in node.matchers.matchers):
                yield labels, series

    def _call(self, node: Any) -> Value:
        name, arguments = node.func.name, node.args
        if name == "time":
            return self._time
        if name == "vector":
            return {NO_LABELS: float(self._vector(arguments[0])[NO_LABELS])}
        if name == "scalar":
            values = list(self._vector(arguments[0]).values())
            return values[0] if len(values) == 1 else math.nan
        if name == "absent":
            return {} if self._vector(arguments[0]) else {_equalities(arguments[0]): 1.0}
        end = self._time - _seconds(arguments[0].vector_selector.offset)
        first = end - arguments[0].range.total_seconds()
        rest = [float(self._vector(each)[NO_LABELS]) for each in arguments[1:]]
        found = {}
        for labels, series in self._select(arguments[0].vector_selector):
            value = RANGE_FUNCTIONS[name](series.between(first, end), first, end, *rest)
            if value is not None:
                found[labels] = value
        return found

    def _binary(self, node: Any) -> Value:
        left, right, sign = self.value(node.lhs), self.value(node.rhs), str(node.op)
        if isinstance(left, float) and isinstance(right, float):
            return _ARITHMETIC[sign](left, right)
        if isinstance(right, float):
            return _each(sign, ((labels, value, value, right) for labels, value in _dict(left).items()))
        if isinstance(left, float):
            return _each(sign, ((labels, value, left, value) for labels, value in right.items()))
        if sign in _SETS:
            return _combine(sign, left, right, node.modifier)
        partner = {_key(labels, node.modifier): value for labels, value in right.items()}
        pairs = ((labels, value, partner.get(_key(labels, node.modifier))) for labels, value in left.items())
        kept = ((labels, value, value, other) for labels, value, other in pairs if other is not None)
        many = node.modifier is not None and node.modifier.card != parser.VectorMatchCardinality.OneToOne
        found = _each(sign, kept)
        if many or (sign in _COMPARISONS and node.modifier is None):
            return found
        return {_key(labels, node.modifier): value for labels, value in found.items()}


def _each(sign: str, parts: Iterable[tuple[Labels, float, float, float]]) -> Vector:
    """Arithmetic gives its result; a comparison keeps the vector's own value where it holds."""
    if sign in _COMPARISONS:
        return {labels: value for labels, value, left, right in parts if _COMPARISONS[sign](left, right)}
    return {labels: _ARITHMETIC[sign](left, right) for labels, _, left, right in parts}


def _combine(sign: str, left: Vector, right: Vector, modifier: Any) -> Vector:
    there = {_key(labels, modifier) for labels in right}
    if sign == "or":
        mine = {_key(labels, modifier) for labels in left}
        return left | {labels: value for labels, value in right.items() if _key(labels, modifier) not in mine}
    return {labels: value for labels, value in left.items() if (_key(labels, modifier) in there) is (sign == "and")}


def _aggregate(node: Any, vector: Vector) -> Vector:
    groups: dict[Labels, list[float]] = {}
    names = set(node.modifier.labels) if node.modifier else set()
    by = node.modifier is None or node.modifier.type == parser.AggModifierType.By
    for labels, value in vector.items():
        key = frozenset(pair for pair in labels if (pair[0] in names) is by)
        groups.setdefault(key, []).append(value)
    return {labels: float(_AGGREGATIONS[str(node.op)](values)) for labels, values in groups.items()}


def _key(labels: Labels, modifier: Any) -> Labels:
    """The labels by which two vectors are matched."""
    matching = modifier.matching if modifier else None
    if matching is None:
        return labels
    on = matching.type == parser.LabelModifierType.Include
    return frozenset(pair for pair in labels if (pair[0] in matching.labels) is on)


def _matches(matcher: Any, value: str) -> bool:
    if matcher.op in (parser.MatchOp.Equal, parser.MatchOp.NotEqual):
        return (value == matcher.value) is (matcher.op == parser.MatchOp.Equal)
    return (re.fullmatch(matcher.value, value) is not None) is (matcher.op == parser.MatchOp.Re)


def _equalities(node: Any) -> Labels:
    """What `absent` can infer about the series that is not there."""
    if not isinstance(node, parser.VectorSelector):
        return NO_LABELS
    return frozenset((each.name, each.value) for each in node.matchers.matchers if each.op == parser.MatchOp.Equal)


def _seconds(offset: Any) -> float:
    return float(offset.total_seconds()) if offset else 0.0


def _dict(value: Value) -> Vector:
    assert isinstance(value, dict)  # noqa: S101 - numbers were dealt with before
    return value
