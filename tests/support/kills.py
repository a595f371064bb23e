"""SIGKILL to a command, its worker or both, at moments that chance chooses; and the counts."""

from __future__ import annotations

import argparse
import contextlib
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import psutil


@dataclass
class Tally:
    """What came of the kills of one kind of victim."""

    kills: int = 0
    faults: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Strike:
    """Who was killed, and all workers that there were."""

    victim: str
    workers: list[psutil.Process]


class Killer:
    """Kills `command`, `worker` or `both`, and counts."""

    def __init__(self, command: str, chooser: random.Random) -> None:
        self._command, self._chooser = command, chooser
        self.tallies = {victim: Tally() for victim in (command, "worker", "both")}

    @property
    def kills(self) -> int:
        return sum(tally.kills for tally in self.tallies.values())

    @property
    def faults(self) -> int:
        return sum(tally.faults.total() for tally in self.tallies.values())

    def strike(self, process: subprocess.Popen[str]) -> Strike | None:
        """Kill a victim; None if all had ended."""
        victim = self._chooser.choice([*self.tallies])
        try:
            workers = psutil.Process(process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return None
        if victim == "worker" and not workers:
            victim = self._command
        for each in workers if victim != self._command else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        if victim != "worker":
            process.kill()
        self.tallies[victim].kills += 1
        return Strike(victim, workers)

    def table(self, faults: Mapping[str, str] | Sequence[str]) -> Iterator[str]:
        """A Markdown table: `faults` by the titles of their columns, or these alone."""
        titles = faults.values() if isinstance(faults, Mapping) else faults
        yield f"| SIGKILL to | kills | {' | '.join(titles)} |"
        yield f"|---|{'--:|' * (len(faults) + 1)}"
        for victim, tally in self.tallies.items():
            counts = (tally.kills, *(tally.faults[fault] for fault in faults))
            yield f"| {victim} | {' | '.join(map(str, counts))} |"


def parsed_arguments(description: str | None, kills: int, minutes: float) -> argparse.Namespace:
    """`kills`, `minutes` and `seed` of a script."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=kills)
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()
