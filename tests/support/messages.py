"""The messages of this package, found in its source: what is raised, and what each text names."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_yourai.core import errors

PACKAGE = Path(errors.__file__).parents[1]

_INPUT_ERRORS = {
    name
    for name, each in vars(errors).items()
    if isinstance(each, type) and issubclass(each, errors.InputError)
} | {"error", "kind"}
"""`error` and `kind` are what functions call a class that was chosen before."""


_VERBS = (
    "accept|add|change|check|choose|close|compare|connect|convert|copy|correct|end|fill|fix|free|"
    "give|install|keep|leave|let|make|measure|name|pip install|put|raise|remove|rename|"
    "run|see|set|share|shorten|start|try|unset|update|use|wait|write"
)

_REMEDY = re.compile(rf"(?:^|[:;,] |, (?:or|and) | or )(?:{_VERBS}) |must |did you mean")


def says_what_to_do(text: str) -> bool:
    """True if a part of the sentence asks for something, or says how the input must be."""
    return _REMEDY.search(text) is not None


@dataclass(frozen=True)
class Message:
    """The message of an exception, with `{}` for what is known when it is raised."""

    place: str
    text: str


def input_errors() -> Iterator[Message]:
    """Of each InputError that the package makes."""
    for path, nodes in _modules():
        for node in nodes:
            if isinstance(node, ast.Call) and _name(node.func) in _INPUT_ERRORS and node.args:
                yield Message(f"{path}:{node.lineno}", text_of(node.args[0]))


def strings() -> Iterator[tuple[str, str]]:
    """Each string of the package with its place, docstrings too."""
    for path, nodes in _modules():
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path}:{node.lineno}", node.value


def vocabulary() -> Iterator[str]:
    """The words of Literals and enumerations, and the names of events."""
    for _, nodes in _modules():
        for node in nodes:
            found: list[ast.AST] = []
            match node:
                case ast.Subscript(value=ast.Name(id="Literal"), slice=words):
                    found = list(ast.walk(words))
                case ast.ClassDef(bases=[ast.Attribute(attr="StrEnum")], body=members):
                    found = [each.value for each in members if isinstance(each, ast.Assign)]
                case ast.Call(func=ast.Attribute(attr="write"), args=[first, *_]):
                    found = [first]
            for each in found:
                if isinstance(each, ast.Constant) and isinstance(each.value, str):
                    yield each.value


def calls(*names: str) -> Iterator[tuple[str, ast.Call]]:
    """Each call of a function or class with one of these names, with its place."""
    for path, nodes in _modules():
        for node in nodes:
            if isinstance(node, ast.Call) and _name(node.func) in names:
                yield f"{path}:{node.lineno}", node


@functools.cache
def _modules() -> tuple[tuple[str, tuple[ast.AST, ...]], ...]:
    return tuple(
        (
            path.relative_to(PACKAGE).as_posix(),
            tuple(ast.walk(ast.parse(path.read_text(encoding="utf-8")))),
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    )


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def text_of(node: ast.expr) -> str:
    """The literal text of an expression; of a call, that of its arguments."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(map(text_of, parts))
        case ast.IfExp(body=body, orelse=other):
            return min(text_of(body), text_of(other), key=len)
        case ast.Call(func=ast.Name(id="bad_row")):
            return "{}"
        case ast.Call(args=arguments):
            return "".join(map(text_of, arguments)) or "{}"
    return "{}"
