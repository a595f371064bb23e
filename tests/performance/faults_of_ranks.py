"""Faults of ranks on two hosts, at every moment: outcomes, measurements and processes afterwards.

    python tests/performance/faults_of_ranks.py [--only TEXT] [--keep FOLDER]

For root, with sshd and iproute2: the hosts are namespaces (tests/support/hosts.py). Each fault
strikes the second of three trials, on the second host; the others must be ok. Most workers answer
from a script; where ranks must reach each other, MLX trains.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from _common import table, verdict
from support.cgroups import made_cgroup
from support.hosts import Hosts, made_hosts
from support.processes import events, profile, wait_for
from support.rank_faults import BATCHES, STRUCK, RankSweep, engine_variables, started_sweep

Deed = Callable[[RankSweep], None]

LOST = ("peer_lost",)
APART = ("connect_failed",)
OK = ("ok",)
MEMORY = ("oom", "safety_stop")


def send(number: signal.Signals, part: str) -> Deed:
    def deed(sweep: RankSweep) -> None:
        for process in sweep.find(part):
            process.send_signal(number)

    return deed


def send_to_desk(number: signal.Signals, part: str) -> Deed:
    def deed(sweep: RankSweep) -> None:
        for process in sweep.find(part, sweep.hosts.desk):
            process.send_signal(number)

    return deed


def nothing(_: RankSweep) -> None: ...


def kill_launcher(sweep: RankSweep) -> None:
    """The ranks need it no more, until it ends what is left of them."""
    for process in sweep.find("mlx_launch", sweep.hosts.desk):
        process.kill()
    sweep.release()


def cut(sweep: RankSweep) -> None:
    sweep.hosts.cut(sweep.second)


def stop_and_cut(sweep: RankSweep) -> None:
    send(signal.SIGSTOP, AGENT)(sweep)
    cut(sweep)


def join(sweep: RankSweep) -> None:
    sweep.hosts.join(sweep.second)


def slow(rate: str) -> Deed:
    def deed(sweep: RankSweep) -> None:
        sweep.hosts.slow_down(rate)
        sweep.release()

    return deed


def speed_up(sweep: RankSweep) -> None:
    sweep.hosts.speed_up()


def other_version(name: str) -> Deed:
    def deed(sweep: RankSweep) -> None:
        folder = sweep.folder / "packages"
        info = folder / f"{name.replace('-', '_')}-0.0.1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.0.1\n")
        path = f"{folder}:{sweep.hosts.variables['PYTHONPATH']}"
        sweep.hosts.give(sweep.second, PYTHONPATH=path)

    return deed


def usual_login(sweep: RankSweep) -> None:
    sweep.hosts.give(sweep.second)


def refuse_keys(sweep: RankSweep) -> None:
    keys = sweep.hosts.hostfile.parent / f"{sweep.second.name}.keys"
    keys.write_text("")


def stop_sshd(sweep: RankSweep) -> None:
    sweep.hosts.stop_sshd(sweep.second)


def start_sshd(sweep: RankSweep) -> None:
    sweep.hosts.start_sshd(sweep.second)


_INTRUDER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as connection:
    connection.sendall(sys.argv[3].encode())
    connection.settimeout(5)
    try:
        print(connection.recv(1))
    except ConnectionResetError:
        print(b"")
"""

HELLO = (
    'a{"kind": "Hello", "token": "0123", "rank": 1, "pid": 1, "host": "host-b", "versions": {}, '
    '"usable_bytes": 1, "available_bytes": 1}\n'
)


def intrude(text: str) -> Deed:
    """Connect to the controller as no rank of it."""

    def deed(sweep: RankSweep) -> None:
        (launch, *_) = sweep.find("mlx_launch", sweep.hosts.desk)
        command = launch.cmdline()
        place = command.index("worker.ranks.agent")
        address = command[place + 1 : place + 3]
        python = sweep.second.command(sys.executable, "-ISc", _INTRUDER, *address, text)
        done = subprocess.run(python, check=True, capture_output=True, text=True, timeout=60)
        if done.stdout.strip() != "b''":
            sys.exit(f"the controller answered {done.stdout}")

    return deed


_SQUATTER = """
import socket, sys, time
taken = socket.create_server(("", int(sys.argv[1])))
time.sleep(60)
"""


def take_port(sweep: RankSweep) -> None:
    """The one that the ring of the second host listens on."""
    (launch, *_) = sweep.find("mlx_launch", sweep.hosts.desk)
    command = launch.cmdline()
    port = int(command[command.index("--starting-port") + 1]) + 1
    squatter = sweep.second.command(sys.executable, "-ISc", _SQUATTER, str(port))
    subprocess.Popen(squatter, start_new_session=True)


def free_port(sweep: RankSweep) -> None:
    for process in sweep.find("create_server"):
        process.kill()


def confine_worker(sweep: RankSweep) -> None:
    """Into 100 MB, before it wants more, and before its guard looks where it is."""
    wait_for(lambda: len(events(sweep.folder, "subprocess_spawned")) == GROUP_SPAWNED)
    (worker,) = sweep.find("worker.__main__")
    (CGROUPS[0] / "cgroup.procs").write_text(str(worker.pid))


CGROUPS: list[Path] = []

GROUP_SPAWNED = 2
"""Starts in the journal once the ranks have joined; the first is of what inspects the model."""


@dataclass(frozen=True)
class Case:
    """What is done, when, and which outcomes of the struck trial are right."""

    what: str
    moment: str
    deed: Deed
    outcomes: tuple[str, ...] = LOST
    heal: Deed = nothing
    kind: str = "hold"
    engine: str = "scripted"
    ends_pytest: bool = False

    @property
    def last(self) -> tuple[str, ...]:
        """Outcomes of the last trial: after a smaller one had no memory it need not be tried."""
        return ("ok", "skipped") if self.outcomes == MEMORY else OK


@dataclass
class Judgement:
    case: Case
    found: list[str] = field(default_factory=list)
    lost: int = 0
    left: list[str] = field(default_factory=list)
    said: str = ""
    reason: str = ""
    """Of the struck trial; the host that was struck must be named where a rank was lost."""
    seconds: float = 0.0

    @property
    def is_right(self) -> bool:
        if self.case.ends_pytest:
            return self.found[:1] == ["ok"]
        named = self.case.outcomes != LOST or "host-b" in self.reason
        return (
            named
            and len(self.found) == len(BATCHES)
            and self.found[BATCHES.index(STRUCK)] in self.case.outcomes
            and self.found[0] == "ok"
            and self.found[-1] in self.case.last
        )

    @property
    def is_good(self) -> bool:
        return self.is_right and not self.lost and not self.left


WORKER, AGENT = "worker.__main__", "worker.ranks.agent"

RUNNING = ("compiling", "warm-up", "measuring", "the last step")


def cases() -> list[Case]:
    found = []
    for number, verb in ((signal.SIGKILL, "killed"), (signal.SIGSTOP, "stopped")):
        for victim, part in (("worker", WORKER), ("agent", AGENT)):
            deed = send(number, part)
            what = f"{victim} {verb}"
            found += [Case(what, moment, deed) for moment in ("loading", *RUNNING)]
            found += [Case(what, "joining", deed, APART)]
            found += [Case(what, "between trials", deed, (*OK, *LOST))]
        found += [Case(f"agent {verb}", "connecting", send(number, AGENT), APART)]
        found += [Case(f"agent {verb}", "after the last trial", send(number, AGENT), OK)]
    found += [Case("link cut", moment, cut, LOST, join) for moment in ("loading", *RUNNING)]
    found += [
        Case("link cut", moment, cut, APART, join)
        for moment in ("before connecting", "connecting", "joining")
    ]
    # The next trial may have begun.
    found += [Case("link cut", "between trials", cut, (*APART, *LOST), join)]
    found += [Case("link cut", "after the last trial", cut, OK, join)]
    found += [
        Case("agent stopped and link cut", "measuring", stop_and_cut, LOST, join),
        Case("agent stopped and link cut", "joining", stop_and_cut, APART, join),
    ]
    found += [
        Case("link slowed", moment, slow("200kbit"), (*OK, *LOST, "collective_stalled"), speed_up)
        for moment in ("loading", "measuring")
    ]
    found += [
        Case("link slowed", "joining", slow("200kbit"), (*OK, *APART), speed_up),
        Case("never answers", "measuring", nothing, ("collective_stalled",), kind="hang"),
        Case("MLX lacks memory", "loading", nothing, MEMORY, kind="lack_memory"),
        Case("MLX lacks memory", "measuring", nothing, MEMORY, kind="lack_memory"),
        Case(
            "kernel lacks memory", "before the trials", confine_worker, MEMORY, kind="fill_memory"
        ),
        Case("worker faults", "measuring", nothing, LOST, kind="SIGSEGV"),
        Case("engine raises", "measuring", nothing, ("error",), kind="fail"),
        Case("other mlx-lm", "before connecting", other_version("mlx-lm"), APART, usual_login),
        Case("other mlx", "before connecting", other_version("mlx"), APART, usual_login),
        Case("keys refused", "before connecting", refuse_keys, APART, usual_login),
        Case("no sshd", "before connecting", stop_sshd, APART, start_sshd),
        Case("wrong token", "launching", intrude(HELLO), OK),
        Case("no hello", "launching", intrude("GET / HTTP/1.1\r\n\r\n"), OK),
        Case("port taken", "launching", take_port, APART, free_port, engine="real"),
        Case("ssh killed", "measuring", send_to_desk(signal.SIGKILL, "host-b"), LOST),
        Case("mlx.launch killed", "measuring", kill_launcher, (*OK, *LOST)),
    ]
    for moment in ("joining", "measuring"):
        deed = send_to_desk(signal.SIGKILL, "-m pytest -p")
        found.append(Case("pytest killed", moment, deed, ends_pytest=True))
        deed = send_to_desk(signal.SIGINT, "-m pytest -p")
        found.append(Case("Ctrl-C", moment, deed, ends_pytest=True))
    return found


def judge(case: Case, hosts: Hosts, folder: Path) -> Judgement:
    found, start = Judgement(case), time.monotonic()
    with started_sweep(hosts, folder, case.moment, kind=case.kind) as sweep:
        sweep.await_moment()
        case.deed(sweep)
        if case.ends_pytest:
            sweep.finish()
            found.left = sweep.left()
        else:
            sweep.await_struck()
            if case.heal is join:
                # Nobody can reach it: it finds out by itself.
                found.left = sweep.left(sweep.second)
            case.heal(sweep)
            found.said = sweep.finish()
            found.left += sweep.left()
    found.seconds = time.monotonic() - start
    completed = events(folder, "trial_complete")
    found.found = [event["outcome"] for event in completed]
    found.reason = "".join(reasons(folder))
    if (folder / "optimal_config.json").exists():
        rows = {row["batch_size"]: row for row in profile(folder)["all_results"]}
        found.lost = sum(event["batch_size"] not in rows for event in completed)
        found.found = [row["outcome"] for _, row in sorted(rows.items())]
    elif not case.ends_pytest:
        found.lost = len(BATCHES)
    return found


def reasons(folder: Path) -> list[str]:
    return [str(event["error"]) for event in events(folder, "trial_complete") if event["error"]]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="part of the names of the faults to inject")
    parser.add_argument("--keep", type=Path, help="folder for what each sweep wrote")
    return parser.parse_args()


def main() -> None:
    given = parsed()
    wanted = [case for case in cases() if given.only in f"{case.what}, {case.moment}"]
    judged = []
    with tempfile.TemporaryDirectory() as temporary, made_cgroup() as cgroup:
        CGROUPS.append(cgroup)
        base = given.keep or Path(temporary)
        variables: Mapping[str, dict[str, str]] = {
            "scripted": engine_variables(),
            "real": engine_variables(None),
        }
        for number, case in enumerate(wanted):
            place = base / f"{number:02}"
            with made_hosts(place / "hosts", variables[case.engine]) as hosts:
                found = judge(case, hosts, place / "run")
            judged.append(found)
            print(f"{case.what}, {case.moment}: {found.found}, {found.seconds:.0f} s", flush=True)
            for line in (*reasons(place / "run"), *found.left):
                print(f"    {line}", flush=True)
            if not found.is_good:
                print(f"    MISSED\n{found.said[-3000:]}", flush=True)
    table(
        ("fault", "moment", "outcomes", "classified", "lost", "left"),
        [
            (
                each.case.what,
                each.case.moment,
                " ".join(each.found),
                verdict(each.is_right),
                str(each.lost),
                str(len(each.left)),
            )
            for each in judged
        ],
    )
    good = sum(each.is_good for each in judged)
    print(f"{good} of {len(judged)} faults: {verdict(good == len(judged))}")


if __name__ == "__main__":
    main()
