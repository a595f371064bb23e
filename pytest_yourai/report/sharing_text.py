"""What to say of a shared file: its name, and title and text of a pull request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_yourai.core.digest import DIGEST
from pytest_yourai.core.units import gigabytes, plural
from pytest_yourai.report import markdown_text
from pytest_yourai.report.fits_text import config_text
from pytest_yourai.report.markdown_text import escaped
from pytest_yourai.store.stored_profile import StoredProfile
from pytest_yourai.store.what_fits.machine import Machine
from pytest_yourai.store.what_fits.measured import quantization_text

_SHORT_DIGEST = 8


def file_name(profile: StoredProfile, document: Mapping[str, Any]) -> str:
    """A name that says what is in the file, and that no other content has."""
    parts = (*_subject(profile), document[DIGEST].rpartition(":")[2][:_SHORT_DIGEST])
    return (
        "-".join(re.sub(r"[^a-z0-9.]+", "-", each.lower()).strip("-") for each in parts) + ".json"
    )


def title(profile: StoredProfile) -> str:
    """`llama-8b (4-bit, 512 tokens) on NVIDIA H200, 150.8 GB (140 GiB)`."""
    model, bits, length, machine = _subject(profile)
    return f"{model} ({bits}, {length}) on {machine}, {_machine(profile).memory}"


def _subject(profile: StoredProfile) -> tuple[str, str, str, str]:
    lengths = sorted({each.max_seq_length for each in profile.results})
    return (
        profile.settings.model or profile.model,
        quantization_text(profile.settings.quantization),
        f"{', '.join(map(str, lengths))} tokens",
        _machine(profile).title,
    )


def _machine(profile: StoredProfile) -> Machine:
    return Machine.of(profile.environment, profile.settings)


def text(profile: StoredProfile, document: Mapping[str, Any]) -> Iterator[str]:
    """Lines of Markdown: what was measured, the answers, and the seal."""
    tried = len(profile.measured)
    limit = f" within {gigabytes(profile.memory_limit_bytes or 0)}"
    versions = ", ".join(
        f"{name} {each}" for name, each in document["environment"]["versions"].items()
    )
    fitting = f"{len(profile.successes)} of {plural(tried, 'configuration')} fit"
    yield f"{fitting}{limit if profile.memory_limit_bytes else ''}; {versions}."
    yield ""
    rows = [
        (
            ", ".join(names),
            config_text(each.config),
            gigabytes(each.minimum_memory_bytes or 0),
            f"{each.tokens_per_second or 0:,.0f}",
        )
        for names, each in profile.answers
    ]
    if rows:
        headings = ("answer", "configuration", "needs", "tokens/s")
        cells = [[escaped(cell) for cell in row] for row in rows]
        yield from markdown_text.table(headings, cells, (False, False, True, True))
        yield ""
    yield f"Made by `yourai share`, and passes `yourai check`; {document[DIGEST]}"
