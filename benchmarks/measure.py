"""Running commands: wall time, interleaved rounds, and the memory of every process of a run."""

from __future__ import annotations

import pathlib
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

Command = Sequence[str]


@dataclass
class Timing:
    """Wall times of one command, in seconds."""

    seconds: list[float] = field(default_factory=list)
    output: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def once(command: Command, timing: Timing) -> None:
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    timing.seconds.append(time.perf_counter() - start)
    timing.output = done.stdout
    if done.returncode not in (0, 1):
        tail = done.stderr.strip()[-300:]
        print(f"note: {' '.join(command[:4])} … ended with exit code {done.returncode}: {tail}")


def interleaved(commands: Mapping[str, Command], rounds: int) -> dict[str, Timing]:
    """Every command once a round, so that what else the machine does hits all alike."""
    timings = {name: Timing() for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            once(command, timings[name])
    return timings


def peak_memory(command: Command, interval: float = 0.002) -> dict[str, float]:
    """The largest resident size, in MB, of each process of a run; Linux only, else empty."""
    if not pathlib.Path("/proc/self/status").is_file():
        return {}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peaks: dict[int, float] = {}
    while process.poll() is None:
        for pid in (process.pid, *_descendants(process.pid)):
            peaks[pid] = max(peaks.get(pid, 0.0), _high_water_mark(pid))
        time.sleep(interval)
    driver = peaks.pop(process.pid, 0.0)
    workers = sorted(peaks.values(), reverse=True)
    return {"driver": driver, **{f"worker {n}": mb for n, mb in enumerate(workers, 1)}}


def _descendants(pid: int) -> list[int]:
    try:
        tasks = list(pathlib.Path(f"/proc/{pid}/task").iterdir())
        text = " ".join((task / "children").read_text() for task in tasks)
    except OSError:
        return []
    children = [int(child) for child in text.split()]
    return children + [below for child in children for below in _descendants(child)]


def _high_water_mark(pid: int) -> float:
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
