"""Sweeps a tiny model of every model type of the installed mlx-lm, for docs/reference/model-types.

python tests/performance/model_types.py [--output FILE] [TYPE ...]

Prints a line for each type, and writes all as JSON, by default where docs/generate.py reads them.
A process of its own sweeps them, and another one those after a type that ended it. Takes some
twenty minutes on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

from support.model_types import Swept, model_types, sweep  # noqa: E402

OUTPUT = TESTS.parent / "docs" / "reference" / "model-types.json"

_CHILD = "--child"


def main(arguments: list[str]) -> int:
    if arguments[:1] == [_CHILD]:
        for name in arguments[1:]:
            print(f"\n{json.dumps(dataclasses.asdict(sweep(name)))}", flush=True)
        return 0
    parser = argparse.ArgumentParser(description="Sweep all model types of mlx-lm.")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("types", nargs="*", metavar="TYPE")
    options = parser.parse_args(arguments)
    found: list[dict[str, Any]] = []
    for each in _swept(options.types or model_types()):
        found.append(each)
        print(f"{each['model_type']}: {_line(each)}", flush=True)
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    document = {"versions": versions, "system": platform.system(), "types": found}
    options.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _swept(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """What is found of each type, in their order."""
    left = list(names)
    while left:
        command = [sys.executable, str(Path(__file__).resolve()), _CHILD, *left]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as child:
            for line in child.stdout or ():
                if line.startswith("{"):
                    yield json.loads(line)
                    del left[0]
        if left:
            yield dataclasses.asdict(Swept(left.pop(0), "MLX ends the process in its first step"))


def _line(found: dict[str, Any]) -> str:
    if found["limit"]:
        return str(found["limit"])
    ends = [end for end in found["rows"].values() if end != "ok"]
    return "trains" if not ends else f"{len(ends)} of {len(found['rows'])} rows: {ends[0]}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
