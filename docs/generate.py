"""Write what is generated from the code: tables of the pages, and the JSON schema of profiles.

python docs/generate.py [--check]

A table is between two comments in its page. `--check` writes nothing, and fails if one is stale.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest_yourai

# The only place that knows where the code keeps its tables.
from pytest_yourai.cli.commands import OWN_COMMANDS
from pytest_yourai.core.mlx_versions import MEMORY_CHANGES
from pytest_yourai.core.paths import packaged_models
from pytest_yourai.models.presets import read_presets
from pytest_yourai.plan.flag_types import Flag, FlagGroup
from pytest_yourai.plan.flags import GROUPS
from pytest_yourai.plan.short_commands import SHORT_COMMANDS
from pytest_yourai.report.explanations import Explanation, read_sections
from pytest_yourai.report.fits_text import markdown as fits_markdown
from pytest_yourai.store.profile import ProfileDocument
from pytest_yourai.store.shared.document import SharedProfile
from pytest_yourai.store.what_fits.measured import read_collection
from pytest_yourai.store.what_fits.table import FitsTable
from pytest_yourai.training.options import TRAIN_OPTIONS
from pytest_yourai.verify.document import read as read_verification
from pytest_yourai.verify.text import number

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
_END = "<!-- end generated -->"


def flags() -> str:
    return "\n".join(f"## {group.title}\n\n{_flags(group)}" for group in GROUPS)


def _flags(group: FlagGroup) -> str:
    return _table(
        ("of pytest", "of `yourai`", "meaning", "default"),
        (
            (
                _code(flag.option, flag.metavar),
                _short(flag),
                flag.help,
                flag.default or "–",
            )
            for flag in group.flags
        ),
    )


def _short(flag: Flag) -> str:
    """How the commands write it: as one of them, or without the prefix."""
    of_command = [each.name for each in SHORT_COMMANDS if each.flag == flag.name]
    of_command += [each.name for each in OWN_COMMANDS if flag.is_command and each.name == flag.name]
    if of_command:
        return _code(f"yourai {of_command[0]}")
    first = "MODEL" if flag.name == "model" else f"--{flag.name}"
    return ", ".join(map(_code, (first, *flag.aliases)))


def train_options() -> str:
    return _table(
        ("option", "meaning", "default"),
        (
            (", ".join(map(_code, each.shown.split(", "))), each.help, each.shown_default or "–")
            for each in TRAIN_OPTIONS.values()
        ),
    )


def presets() -> str:
    return _table(
        ("preset", "parameters", "what it is", "repository", "in 4 bits"),
        (
            (
                _code(name),
                preset.params or "–",
                preset.about or "–",
                preset.repo or "–",
                preset.repo_4bit or "–",
            )
            for name, preset in read_presets(packaged_models()).items()
        ),
    )


def memory_changes() -> str:
    return _table(
        ("before", "on", "training"),
        (
            (_code(f"{each.package} {each.since}"), ", ".join(each.backends), each.before)
            for each in MEMORY_CHANGES
        ),
    )


def verified() -> str:
    """A table of each file of `yourai verify` in docs/verified."""
    return "\n".join(map(_verified, sorted((DOCS / "verified").glob("*.json"))))


def _verified(path: Path) -> str:
    found = read_verification(path)
    machine = found.environment
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    rows = ((line.title, line.status.value, number(line), line.note) for line in found.lines)
    return (
        f"### {machine.chip}, {machine.backend}\n\n"
        f"{machine.system}, {versions}; {found.created_at:.10}, {found.took_s:.0f} s "
        f"([all numbers](verified/{path.name}))\n\n"
        f"{_table(('line', 'verdict', 'number', 'from'), rows)}"
    )


def model_types() -> str:
    """A table of what tests/performance/model_types.py has found."""
    found = json.loads((DOCS / "reference" / "model-types.json").read_text(encoding="utf-8"))
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    types = found["types"]
    limited = sum(each["limit"] is not None for each in types)
    header = ("model type", "trains", "estimate", "`qkvo` adapts", "`all` adapts as well")
    table = _table(header, map(_model_type, types))
    known = [each["estimate"] for each in types if each.get("estimate")]
    off = [abs(each["minimum"]) for each in known]
    return (
        f"{len(types)} types with {versions}, on {found['system']} with the CPU: "
        f"{len(types) - limited} train, {limited} do not. The estimates of {len(known)} minima are "
        f"off by {statistics.fmean(off):.1%} on average and {max(off):.1%} at most.\n\n{table}"
    )


def _model_type(found: Mapping[str, Any]) -> tuple[str, ...]:
    modules = found["modules"]
    qkvo = modules.get("qkvo", ())
    others = [path for path in modules.get("all", ()) if path not in qkvo]
    return (
        f"`{found['model_type']}`",
        _trains(found),
        f"{off['minimum']:+.1%}" if (off := found.get("estimate")) else "–",
        (", ".join(map(_code, qkvo)) or "–") if found["has_qkvo"] else "as `all`",
        ", ".join(map(_code, others if found["has_qkvo"] else qkvo)) or "–",
    )


def _trains(found: Mapping[str, Any]) -> str:
    if found["limit"] is not None:
        return str(found["limit"])
    failed = {end for end in found["rows"].values() if end != "ok"}
    if any("not valid for this model, whose layers" not in end for end in failed):
        return "; ".join(sorted(failed))
    return "yes; `qkvo` not in each layer" if found["without_qkvo"] else "yes"


def explanations() -> str:
    """A heading for each message that `yourai explain` knows."""
    return "\n".join(
        f"## {section.title}\n\n{section.about}\n\n{''.join(map(_explained, section.entries))}"
        for section in read_sections()
    )


def _explained(entry: Explanation) -> str:
    others = ", ".join(map(_code, entry.messages[1:]))
    paragraphs = [
        f"### {_code(entry.title)}",
        f"Also: {others}." if others else "",
        entry.meaning,
        f"**What to do:** {entry.remedy}",
        f"*Printed by {entry.source}.*" if entry.source else "",
    ]
    return "".join(f"{each}\n\n" for each in paragraphs if each)


def what_fits_where() -> str:
    """The table of the shared files that are here."""
    found = read_collection([ROOT / "community" / "profiles"])
    return fits_markdown(FitsTable.of(found.profiles))


def signatures() -> str:
    """What mkdocstrings fills in on the site, for each public name."""
    return "\n".join(f"::: {_home(name)}.{name}\n" for name in sorted(pytest_yourai.__all__))


def _home(name: str) -> str:
    home: str = getattr(pytest_yourai, name).__module__
    return home


PARTS: dict[str, tuple[str, Callable[[], str]]] = {
    "flags": ("reference/flags.md", flags),
    "train options": ("reference/train-options.md", train_options),
    "model types": ("reference/model-types.md", model_types),
    "presets": ("reference/models.md", presets),
    "memory changes": ("guides/on-a-mac.md", memory_changes),
    "signatures": ("reference/signatures.md", signatures),
    "explanations": ("troubleshooting.md", explanations),
    "verified machines": ("verified.md", verified),
    "what fits where": ("../community/README.md", what_fits_where),
}
"""By name: the page, and what makes the part."""

SCHEMAS = {
    "docs/reference/profile.schema.json": ProfileDocument,
    "community/shared.schema.json": SharedProfile,
}


def generated(page: str, name: str, text: str) -> str:
    """`page` with its part of that name replaced by `text`."""
    start = f"<!-- generated: {name}; edit the code, then run docs/generate.py -->"
    before, found, rest = page.partition(start)
    _, ended, after = rest.partition(_END)
    if not found or not ended:
        raise SystemExit(f"a page has no part between {start} and {_END}")
    return f"{before}{start}\n\n{text}\n{_END}{after}"


def pages() -> Iterator[tuple[Path, str]]:
    """Each generated file and its text; of pages with generated parts the whole page."""
    texts: dict[Path, str] = {}
    for name, (place, make) in PARTS.items():
        path = (DOCS / place).resolve()
        page = texts.get(path) or path.read_text(encoding="utf-8")
        texts[path] = generated(page, name, make())
    yield from texts.items()
    for place, document in SCHEMAS.items():
        yield ROOT / place, json.dumps(document.model_json_schema(), indent=2) + "\n"


def main(arguments: list[str]) -> int:
    stale = []
    for path, text in pages():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if arguments != ["--check"]:
            path.write_text(text, encoding="utf-8")
    if not stale:
        print("All generated parts are fresh")
    elif arguments == ["--check"]:
        print(f"Stale: {', '.join(stale)}; run python docs/generate.py")
        return 1
    else:
        print(f"Written: {', '.join(stale)}")
    return 0


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "".join(map(_row, [header, ["---"] * len(header), *rows]))


def _row(cells: Sequence[str]) -> str:
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |\n"


def _code(text: str, metavar: str | None = None) -> str:
    return f"`{text} {metavar}`" if metavar else f"`{text}`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
