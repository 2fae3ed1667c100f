"""The small changes that are made to a module, each of them a mutant.

A mutant has another operator, another constant, None in place of a result, a condition that always
or never holds, an exception that is not caught, or an operand, an argument, a statement less. What
words errors and logs is left alone, and so are types and imports: nothing is misread there. So are
``strict=True``, which would show a mistake of ours, and limits, of which one more is as good.
"""

from __future__ import annotations

import ast
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_OTHER_OPERATORS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.And: ast.Or,
    ast.Or: ast.And,
}

_STATEMENTS = (ast.Expr, ast.AugAssign, ast.Raise, ast.Continue, ast.Break)
"""What is left out. An assignment gets another value instead, for its name has to exist."""

_LEFT_ALONE = frozenset({"annotation", "returns", "decorator_list", "bases", "format_spec"})
"""Fields of the syntax tree in which nothing is changed."""


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes:
        module: The path of the module.
        name: The function and the change.
        line: The line that is changed.
    """

    module: str
    name: str
    line: int


def normalize(source: str) -> str:
    """Return a module without comments, and with each simple statement on one line."""
    return ast.unparse(ast.parse(source)) + "\n"


def list_mutants(module: str, source: str) -> list[Mutant]:
    """Return all mutants of a module.

    Args:
        module: The path of the module.
        source: Its content, which `normalize` returned.
    """
    return list(_iter_mutants(module, ast.parse(source)))


def mutate(source: str, mutant: Mutant) -> str:
    """Return the content of a module with the change of a mutant."""
    tree = ast.parse(source)
    return next(ast.unparse(tree) for m in _iter_mutants(mutant.module, tree) if m == mutant)


def _iter_mutants(module: str, tree: ast.Module) -> Iterator[Mutant]:
    """Yield all mutants of a module. In the meantime the tree has the change of each."""
    counts: Counter[str] = Counter()
    for node, line, function in list(_walk(tree, 1, "")):
        before = _shorten(ast.unparse(node))
        for change in _change(node, function):
            name = f"{function}: {change or f'{before} -> {_shorten(ast.unparse(node))}'}"
            counts[name] += 1
            name += f" ({counts[name]})" * (counts[name] > 1)
            yield Mutant(module, name, line)


def _shorten(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:87]}..."


def _walk(node: Any, line: int, function: str) -> Iterator[tuple[Any, int, str]]:
    """Yield what may be changed, the line of its statement, and the function that it is in."""
    if _is_left_alone(node):
        return
    if isinstance(node, ast.stmt):
        line = node.lineno
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        function = f"{function}.{node.name}".lstrip(".")
    if not isinstance(node, (ast.Module, ast.arguments)):
        yield node, line, function
    for field, child in ast.iter_fields(node):
        if field not in _LEFT_ALONE:
            for item in child if isinstance(child, list) else [child]:
                if isinstance(item, ast.AST):
                    yield from _walk(item, line, function)


def _is_left_alone(node: ast.AST) -> bool:
    """Whether nothing of a node is changed."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test) == "TYPE_CHECKING"
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant) or _is_message(node.value)
    if isinstance(node, ast.keyword):
        return node.arg == "strict"
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value) == "Literal"
    return isinstance(node, (ast.Import, ast.ImportFrom, ast.arg)) or _is_message(node)


def _is_message(node: ast.AST) -> bool:
    """Whether it logs, makes an error, or names a type."""
    if not isinstance(node, ast.Call):
        return False
    function = ast.unparse(node.func)
    return function.endswith(("Error", "_error", "_fail")) or function.startswith(
        ("logger.", "get_logger", "describe", "_describe", "cast", "TypeVar")
    )


def _change(node: Any, function: str) -> Iterator[str]:
    """Change a node in each of the ways; yield what to call the change, by default its code."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            yield from _set_item(node.ops, i, _OTHER_OPERATORS[type(operator)]())
    elif isinstance(node, ast.BoolOp):
        yield from _set(node, "op", _OTHER_OPERATORS[type(node.op)]())
        yield from _drop_each(node.values)
    elif isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in _OTHER_OPERATORS:
        yield from _set(node, "op", _OTHER_OPERATORS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield from _set(node, "operand", ast.UnaryOp(ast.Not(), node.operand))
    elif isinstance(node, ast.Constant):
        yield from _change_constant(node, is_limit=function == "")
    elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
        test = _shorten(ast.unparse(node.test))
        if not isinstance(node, ast.While):
            yield from _set(node, "test", ast.Constant(value=True), f"always if {test}")
        yield from _set(node, "test", ast.Constant(value=False), f"never if {test}")
    elif isinstance(node, ast.comprehension):
        yield from _drop_each(node.ifs)
    elif isinstance(node, (ast.Return, ast.Assign)) and node.value is not None:
        is_tuple = isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple)
        if not is_tuple and ast.unparse(node.value) not in ("None", "False"):
            yield from _set(node, "value", ast.Constant(None))
    elif isinstance(node, ast.Call):
        yield from _drop_each(node.keywords)
    elif isinstance(node, ast.JoinedStr):
        yield from _drop_each(node.values, ast.FormattedValue)
    elif isinstance(node, ast.ExceptHandler) and isinstance(node.type, ast.Tuple):
        yield from _drop_each(node.type.elts)
    elif isinstance(node, _STATEMENTS):
        yield from _leave_out(node)


def _change_constant(node: ast.Constant, *, is_limit: bool) -> Iterator[str]:
    value = node.value
    if isinstance(value, bool):
        yield from _set(node, "value", not value)
    elif isinstance(value, (int, float)) and not is_limit:
        yield from _set(node, "value", value + 1)
    elif isinstance(value, str):
        yield from _set(node, "value", f"{value}X")


def _set(node: ast.AST, field: str, value: Any, name: str = "") -> Iterator[str]:
    old = getattr(node, field)
    setattr(node, field, value)
    yield name
    setattr(node, field, old)


def _set_item(items: list[Any], i: int, value: Any) -> Iterator[str]:
    old, items[i] = items[i], value
    yield ""
    items[i] = old


def _drop_each(items: list[Any], kind: type[ast.AST] = ast.AST) -> Iterator[str]:
    for i, item in enumerate(items[:]):
        if isinstance(item, kind) and not _is_left_alone(item):
            del items[i]
            yield ""
            items.insert(i, item)


def _leave_out(statement: ast.stmt) -> Iterator[str]:
    name = f"without {_shorten(ast.unparse(statement))}"
    kind = statement.__class__
    statement.__class__ = ast.Pass
    yield name
    statement.__class__ = kind
