"""YAML files whose errors name file, line and key."""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import yaml

from pytest_yourai.core.errors import InputError
from pytest_yourai.core.excerpt import excerpt
from pytest_yourai.core.opening import read_regular
from pytest_yourai.core.similar import similar

_Schema = TypeVar("_Schema", bound=pydantic.BaseModel)

_MOST_CHARACTERS = 1_000_000

_MOST_BYTES = 4 * _MOST_CHARACTERS

_LONGEST_VALUE = 60

_OF_A_KEY = "[key]"
"""Pydantic's last part of the location of a key that is not valid."""

_EXPONENT = re.compile(
    r"""^(?: [-+]?[0-9][0-9_]* (?: \.[0-9_]* )? [eE][-+]?[0-9]+
    | \. _* [0-9] [0-9_]* (?: [eE][-+][0-9]+ )? )$""",
    re.VERBOSE,
)
"""Numbers such as 1e-5, which YAML 1.1 takes for text and mlx-lm's own loader for numbers."""

_TEXT = "tag:yaml.org,2002:str"

_MERGE = "tag:yaml.org,2002:merge"

_UNKNOWN = "extra_forbidden"
"""Pydantic's name for a key that the schema does not have."""

_FIRST_OF_NUMBERS = "-+0123456789."


class _PlainValues(yaml.SafeLoader):
    """Plain values without aliases, few lines of which can stand for billions of values."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, "aliases are not supported: write the values out", mark
            )
        return super().compose_node(parent, index)

    def construct_whole(self, node: yaml.ScalarNode) -> Any:
        """A whole number as people write it; YAML 1.1 also takes 010 for 8, and 1:30 for 90."""
        digits = node.value.lstrip("+-")
        try:
            number = self.construct_yaml_int(node)
        except ValueError:
            raise _refused(f"a number has {len(digits):,} digits", node) from None
        if ":" in digits or (digits.isdecimal() and digits != str(abs(number))):
            raise _other_number(node, number)
        return number

    def construct_fraction(self, node: yaml.ScalarNode) -> Any:
        number = self.construct_yaml_float(node)
        if ":" in node.value:
            raise _other_number(node, number)
        return number


def _other_number(node: yaml.ScalarNode, number: float) -> yaml.MarkedYAMLError:
    shown = excerpt(node.value, _LONGEST_VALUE)
    return _refused(f"{shown} is {number} in YAML 1.1: write {number}", node)


def _refused(why: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, why, node.start_mark)


_PlainValues.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list(_FIRST_OF_NUMBERS))
_PlainValues.add_constructor("tag:yaml.org,2002:int", _PlainValues.construct_whole)
_PlainValues.add_constructor("tag:yaml.org,2002:float", _PlainValues.construct_fraction)


def plain_value(text: str) -> Any:
    """The value of one YAML document, as `read_yaml` reads it; YAMLError where it has none."""
    return _PlainValues(text).get_single_data()


def is_plain_text(text: str) -> bool:
    """True if YAML without quotes has `text` for what it is, and for no number, date or switch."""
    loader = _PlainValues(f"- {text}\n- end\n")
    try:
        found = loader.get_data()
    except (yaml.YAMLError, ValueError):
        return False
    return bool(found == [text, "end"])


@dataclass(frozen=True)
class YamlFile:
    """A parsed file: its text and value, and the line (from 1) where each key or element starts."""

    path: Path
    text: str
    value: Any
    lines: dict[tuple[str | int, ...], int]

    def where(self, location: tuple[str | int, ...]) -> str:
        """`file:line: key`, with the line of the deepest part of `location` that the file has."""
        location = tuple(part for part in location if part != _OF_A_KEY)
        while location[1:] and isinstance(location[-1], int) and location not in self.lines:
            # A single value that stands for a list of one has no index.
            location = location[:-1]
        key = ".".join(map(str, location))
        for depth in range(len(location), 0, -1):
            if line := self.lines.get(location[:depth]):
                return f"{self.path}:{line}: {key}"
        return f"{self.path}: {key}" if location else str(self.path)


def read_yaml(path: Path, error: type[InputError], kind: str) -> YamlFile:
    """The file at `path`, with nothing but plain values constructed.

    Raises `error`, naming file and line, unless the file is one readable YAML document with unique
    keys. `kind` names what the file should be, for the message ("a matrix").
    """
    return parse_yaml(path, read_text(path, error, kind), error)


def read_text(path: Path, error: type[InputError], kind: str) -> str:
    """The text of the file at `path`; errors as of `read_yaml`."""
    try:
        text = read_regular(path, _MOST_BYTES).decode()
    except FileNotFoundError:
        raise error(f"{path} does not exist: name {kind} that does") from None
    except OSError as problem:
        raise error(
            f"{path} cannot be read as {kind}: {problem.strerror}; name {kind} that can"
        ) from None
    except UnicodeDecodeError as problem:
        raise error(f"{path} cannot be read as {kind}: {problem}; write it as UTF-8") from None
    if len(text) > _MOST_CHARACTERS:
        raise error(f"{path} has {len(text):,} characters: too many for {kind}; shorten it")
    return text


def parse_yaml(path: Path, text: str, error: type[InputError]) -> YamlFile:
    """The value of `text`, which the file at `path` has; errors as of `read_yaml`."""
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        loader = _PlainValues(text)
        node = loader.get_single_node()
        if node is not None:
            _record_lines(node, (), lines, path, error)
        value = None if node is None else loader.construct_document(node)
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line + 1 if problem.problem_mark else 1
        place = f"{path}:{line}"
        raise error(f"{place}: this is not plain YAML: {problem.problem}; fix the line") from None
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        first = next(iter(str(problem).splitlines()), type(problem).__name__)
        raise error(f"{path}: this is not plain YAML: {first}; fix it") from None
    return YamlFile(path, text, value, lines)


def validate(
    file: YamlFile,
    schema: type[_Schema],
    value: Any,
    error: type[InputError],
    at: tuple[str | int, ...] = (),
) -> _Schema:
    """`value`, found in `file` under `at`, as a `schema`; raises `error` for its first error."""
    try:
        return schema.model_validate(value)
    except pydantic.ValidationError as problem:
        errors = problem.errors()
        # A misspelt key is also a missing one: what is there names it, and its line.
        first = next((each for each in errors if each["type"] == _UNKNOWN), errors[0])
        raise error(f"{file.where((*at, *first['loc']))}: {_message(first, schema)}") from None


def _message(problem: Any, schema: type[pydantic.BaseModel]) -> str:
    if problem["type"] == _UNKNOWN:
        known = list(schema.model_fields)
        close = similar(str(problem["loc"][-1]), known, most=2)
        if close:
            return f"unknown key: did you mean {' or '.join(close)}?"
        return f"unknown key: the known ones are {', '.join(known)}; use one of them"
    if problem["type"] == "missing":
        return "this key is missing: add it"
    if problem["type"] == "model_type":
        return f"it must be a mapping with keys such as {', '.join(schema.model_fields)}"
    message: str = problem["msg"].removeprefix("Value error, ")
    in_yaml = f"{message[0].lower()}{message[1:]}".replace("tuple", "list")
    return f"{in_yaml} (found {excerpt(repr(problem['input']), _LONGEST_VALUE)})"


def _problem_of_key(key: yaml.Node, seen: Container[str]) -> str | None:
    """Why a mapping with the keys `seen` cannot have this one, too; None where it can."""
    if key.tag == _MERGE:
        return "merge keys are not supported: write the values out"
    if key.tag != _TEXT:
        return "this key is not text: write it in quotes"
    return "this key appears twice: keep one" if key.value in seen else None


def _record_lines(
    node: yaml.Node,
    location: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
    path: Path,
    error: type[InputError],
) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            line = key.start_mark.line + 1
            name = str(key.value)
            if problem := _problem_of_key(key, seen):
                shown = excerpt(name, _LONGEST_VALUE) if isinstance(key, yaml.ScalarNode) else "?"
                raise error(f"{path}:{line}: {shown}: {problem}")
            seen.add(name)
            lines[(*location, name)] = line
            _record_lines(value, (*location, name), lines, path, error)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*location, index)] = value.start_mark.line + 1
            _record_lines(value, (*location, index), lines, path, error)
