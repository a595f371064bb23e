"""Sweeps a tiny model of every model type of the installed mlx-lm, for docs/reference/model-types.

python tests/performance/model_types.py [--output FILE] [--estimates] [TYPE ...]

Prints a line for each type, and writes all as JSON, by default where docs/generate.py reads them.
A process of its own sweeps them, and another one those after a type that ended it. Takes some
twenty minutes on two cores, and `--estimates`, which adds how far estimates are off, some ten.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from support.model_types import Swept, estimate_errors, model_types, sweep  # noqa: E402

OUTPUT = TESTS.parent / "docs" / "reference" / "model-types.json"

_CHILD, _ESTIMATING_CHILD = "--child", "--estimating-child"


def main(arguments: list[str]) -> int:
    if arguments[:1] == [_CHILD]:
        for name in arguments[1:]:
            print(f"\n{json.dumps(dataclasses.asdict(sweep(name)))}", flush=True)
        return 0
    if arguments[:1] == [_ESTIMATING_CHILD]:
        for name in arguments[1:]:
            off = estimate_errors(name)
            line = json.dumps({"estimate": off and dataclasses.asdict(off)})
            print(f"\n{line}", flush=True)
        return 0
    parser = argparse.ArgumentParser(description="Sweep all model types of mlx-lm.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument(
        "--estimates", action="store_true", help="only add to OUTPUT how far estimates are off"
    )
    parser.add_argument("types", nargs="*", metavar="TYPE")
    options = parser.parse_args(arguments)
    if options.estimates:
        return add_estimates(options.output, options.types)
    found: list[dict[str, Any]] = []
    for each in _swept(options.types or model_types()):
        found.append(each)
        print(f"{each['model_type']}: {_line(each)}", flush=True)
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    document = {"versions": versions, "system": platform.system(), "types": found}
    options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def add_estimates(output: Path, names: Sequence[str]) -> int:
    """Measure what the estimates of `names`, or of all types, are off, and write it to `output`."""
    document = json.loads(output.read_text(encoding="utf-8"))
    wanted = [
        each
        for each in document["types"]
        if not each["limit"] and (not names or each["model_type"] in names)
    ]
    found = _from_children(_ESTIMATING_CHILD, [each["model_type"] for each in wanted])
    for each, off in zip(wanted, found, strict=True):
        each["estimate"] = None if off is None else off["estimate"]
        print(f"{each['model_type']}: {each['estimate']}", flush=True)
    output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    known = [each["estimate"] for each in document["types"] if each.get("estimate")]
    errors = [abs(each["minimum"]) for each in known]
    print(
        f"minimum of {len(known)} types: mean {statistics.fmean(errors):.1%}, largest "
        f"{max(errors):.1%}; {sum(each['exceeds_conservative'] for each in known)} above the "
        "conservative estimate"
    )
    return 0


def _swept(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is found of each type, in their order."""
    for name, found in zip(names, _from_children(_CHILD, names), strict=True):
        ended = Swept(name, "MLX ends the process in its first step")
        yield dataclasses.asdict(ended) if found is None else found


def _from_children(kind: str, names: Sequence[str]) -> Iterator[dict[str, Any] | None]:
    """What a child process found of each type; None for one that ended it."""
    left = list(names)
    while left:
        command = [sys.executable, str(Path(__file__).resolve()), kind, *left]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            for line in child.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)
                    del left[0]
        if left:
            left.pop(0)
            yield None


def _line(found: dict[str, Any]) -> str:
    if found["limit"]:
        return str(found["limit"])
    ends = [end for end in found["rows"].values() if end != "ok"]
    return "trains" if not ends else f"{len(ends)} of {len(found['rows'])} rows: {ends[0]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
