"""Conditions as text: Python's syntax for comparisons, turned into a Polars expression.

Nothing is evaluated: the text is parsed, and each part that is not listed here is refused.
"""

from __future__ import annotations

import ast
import difflib
import operator
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from labelfix.errors import InputError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["where"]

_COMPARISONS: dict[type[ast.cmpop], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_SUMS: dict[type[ast.operator], Callable[[pl.Expr, pl.Expr], pl.Expr]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_GRAMMAR = (
    "names of columns, col('any name'), numbers, texts, True, False; == != < <= > >=; in [..], "
    "'text' in column; is None, is not None; and, or, not; + - * /; parentheses"
)

_NUMBER, _TEXT, _TRUTH, _OTHER = "numbers", "text", "True or False", "values"


@dataclass(frozen=True)
class _Part:
    """An expression, and what its values are."""

    expression: pl.Expr
    kind: str


def where(text: str, columns: Mapping[str, pl.DataType]) -> pl.Expr:
    """Read a condition on the columns of a table.

    Parameters
    ----------
    text
        Python's syntax: `width > 300 and condition in ['blur', 'dark']`. A missing value makes a
        comparison neither true nor false, as in SQL, so that `filter` leaves such rows out; ask for
        them with `is None`.
    columns
        Names and types of the columns, such as `DataFrame.schema`.

    Raises
    ------
    InputError
        With the position of every column that is not there, and of what is no such condition.

    Examples
    --------
    >>> table = pl.DataFrame({"width": [100, 400], "condition": ["blur", "blur"]})
    >>> table.filter(where("condition == 'blur' and width > 300", table.schema)).rows()
    [(400, 'blur')]
    >>> where("widht > 300", table.schema)
    Traceback (most recent call last):
    labelfix.errors.InputError: where, position 1: found no column 'widht'; expected 'width'
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # of odd escapes in texts
            tree = ast.parse(text.strip() or "?", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = getattr(error, "offset", None) or 1
        found = f"{text!r}, which does not read ({getattr(error, 'msg', error)})"
        raise InputError(Problem(f"where, position {at}", found, _GRAMMAR)) from error
    reader = _Reader(text.strip(), columns)
    try:
        part = reader.read(tree.body)
    except RecursionError as error:
        found = "conditions within conditions without end"
        raise InputError(Problem("where", found, "a shorter one")) from error
    if part.kind != _TRUTH:
        reader.refuse(tree.body, f"{part.kind}, which are no condition", "a comparison")
    if reader.problems:
        raise InputError(reader.problems)
    return part.expression


class _Reader:
    """Walks the tree, and notes what cannot be used."""

    def __init__(self, text: str, columns: Mapping[str, pl.DataType]) -> None:
        self.text, self.columns = text, columns
        self.problems: list[Problem] = []

    def refuse(self, node: ast.expr, found: str, expected: str = "") -> _Part:
        """Note a problem at its place, and go on with something that fits everywhere."""
        if not self._knows(node):
            self.problems.append(Problem(f"where, position {self._at(node)}", found, expected))
        return _Part(pl.lit(None), _OTHER)

    def _at(self, node: ast.expr) -> int:
        """Give the character, from 1; the tree counts bytes."""
        line = self.text.splitlines()[node.lineno - 1]
        before = sum(len(one) + 1 for one in self.text.splitlines()[: node.lineno - 1])
        return before + len(line.encode()[: node.col_offset].decode(errors="ignore")) + 1

    def _knows(self, node: ast.expr) -> bool:
        """Whether a part of this one has been refused already: one mistake, one message."""
        return any(
            problem.where == f"where, position {self._at(one)}"
            for problem in self.problems
            for one in ast.walk(node)
            if isinstance(one, ast.expr)
        )

    def read(self, node: ast.expr) -> _Part:
        match node:
            case ast.BoolOp(op=op, values=values):
                parts = [self._truth(one) for one in values]
                joined = parts[0]
                for one in parts[1:]:
                    joined = joined & one if isinstance(op, ast.And) else joined | one
                return _Part(joined, _TRUTH)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return _Part(~self._truth(operand), _TRUTH)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return _Part(-self._number(operand), _NUMBER)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _SUMS:
                return _Part(_SUMS[type(op)](self._number(left), self._number(right)), _NUMBER)
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                sides = [left, *comparators]
                steps = [
                    self._compare(node, one, op, other)
                    for one, op, other in zip(sides, ops, comparators, strict=False)
                ]
                joined = steps[0]
                for step in steps[1:]:
                    joined = joined & step
                return _Part(joined, _TRUTH)
            case ast.Name(id=name):
                return self._column(node, name)
            case ast.Call(
                func=ast.Name(id="col"), args=[ast.Constant(value=str(name))], keywords=[]
            ):
                return self._column(node, name)
            case ast.Constant(value=bool(value)):
                return _Part(pl.lit(value), _TRUTH)
            case ast.Constant(value=int(value) | float(value)) if abs(value) < 2**63:
                return _Part(pl.lit(value), _NUMBER)
            case ast.Constant(value=str(value)):
                return _Part(pl.lit(value), _TEXT)
            case _:
                source = ast.get_source_segment(self.text, node) or type(node).__name__
                return self.refuse(node, f"{source!r}", _GRAMMAR)

    def _column(self, node: ast.expr, name: str) -> _Part:
        if name not in self.columns:
            near = difflib.get_close_matches(name, self.columns, 3) or list(self.columns)
            return self.refuse(node, f"no column {name!r}", " or ".join(map(repr, near)))
        kind = self.columns[name]
        if kind == pl.Boolean:
            return _Part(pl.col(name), _TRUTH)
        if kind.is_numeric():
            return _Part(pl.col(name), _NUMBER)
        if kind in (pl.String, pl.Categorical, pl.Enum):
            return _Part(pl.col(name).cast(pl.String), _TEXT)
        return _Part(pl.col(name), _OTHER)

    def _truth(self, node: ast.expr) -> pl.Expr:
        return self._of_kind(node, _TRUTH, "a condition")

    def _number(self, node: ast.expr) -> pl.Expr:
        return self._of_kind(node, _NUMBER, "numbers")

    def _of_kind(self, node: ast.expr, kind: str, expected: str) -> pl.Expr:
        part = self.read(node)
        if part.kind != kind:
            self.refuse(node, part.kind, expected)
        return part.expression

    def _compare(self, whole: ast.expr, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pl.Expr:
        if isinstance(op, ast.In | ast.NotIn):
            among = self._is_in(left, right)
            return ~among if isinstance(op, ast.NotIn) else among
        if isinstance(op, ast.Is | ast.IsNot):
            return self._is_missing(left, op, right)
        one, other = self.read(left), self.read(right)
        if one.kind != other.kind:
            found = f"{one.kind} compared with {other.kind}"
            self.refuse(whole, found, "both alike: quote texts, and leave numbers without quotes")
        return _COMPARISONS[type(op)](one.expression, other.expression)

    def _is_missing(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> pl.Expr:
        part = self.read(left)
        if not (isinstance(right, ast.Constant) and right.value is None):
            self.refuse(right, "'is' without None", "is None, is not None, or ==")
        missing = part.expression.is_null()
        return ~missing if isinstance(op, ast.IsNot) else missing

    def _is_in(self, left: ast.expr, right: ast.expr) -> pl.Expr:
        """One of a list, or a text within a text."""
        part = self.read(left)
        if isinstance(right, ast.List | ast.Tuple):
            among = pl.lit(value=False)
            for one in right.elts:
                other = self.read(one)
                if other.kind != part.kind:
                    self.refuse(one, f"{other.kind} in a list for {part.kind}", part.kind)
                among = among | (part.expression == other.expression)
            return among
        other = self.read(right)
        if (part.kind, other.kind) != (_TEXT, _TEXT):
            self.refuse(right, other.kind, "a list, or text to find a text in")
        return other.expression.str.contains(part.expression, literal=True)
