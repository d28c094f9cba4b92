"""How much memory a program holds, and how much the machine, or its container, has left.

From what Linux tells under /proc and /sys; elsewhere nothing is known.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nrcscan.files.budgets import told

RESERVE = 16
"""What part of all memory is left to others: one of so many."""

MOST_RESERVED = 1 << 30
"""Bytes of it at most."""

_OWN, _CGROUPS = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")
_UNIFIED = ("", "memory.max", "memory.current", "")
_EARLIER = ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
_NO_LIMIT = 1 << 60


@dataclass(frozen=True)
class Memory:
    """Of a machine or a container, in bytes.

    Attributes:
        total: all that there is.
        left: what programs can still have; what files take of it counts, as they give way.
    """

    total: int
    left: int

    @property
    def reserve(self) -> int:
        """What is left to others."""
        return min(self.total // RESERVE, MOST_RESERVED)


def held_by(pid: int) -> int | None:
    """Return how many bytes a process holds, apart from files; None where that is not known."""
    try:
        resident, shared = Path(f"/proc/{pid}/statm").read_text().split()[1:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def allowed() -> int | None:
    """Return how many bytes `ulimit -m` allows, which Linux itself does not see to."""
    soft = resource.getrlimit(resource.RLIMIT_RSS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def memory() -> Memory | None:
    """Return the memory of this machine, or of the container that has least left."""
    found = [*_of_machine(), *_of_containers()]
    return min(found, key=lambda one: one.left - one.reserve) if found else None


def over(held: int) -> str | None:
    """Return the bound that a program is above, in words; None if it is not.

    Args:
        held: by the program, in bytes.
    """
    most, found = allowed(), memory()
    if most is not None and held > most:
        return f"ulimit -m allows {told(most)}"
    if found is None or found.left >= found.reserve or 2 * held <= found.total - found.left:
        return None
    return f"{told(max(found.left, 0))} of {told(found.total)} are left"


def run_out() -> int:
    """Return how many programs the system has ended for want of memory since it started."""
    try:
        return dict(_numbers(Path("/proc/vmstat"))).get("oom_kill", 0)
    except OSError:
        return 0


def _of_machine() -> Iterator[Memory]:
    try:
        found = dict(_numbers(Path("/proc/meminfo")))
        yield Memory(found["MemTotal:"] << 10, found["MemAvailable:"] << 10)
    except (OSError, KeyError):
        return


def _of_containers() -> Iterator[Memory]:
    """Yield the memory of every control group that this process is in and that has a limit."""
    try:
        groups = [line.split(":", 2)[1:] for line in _OWN.read_text().splitlines()]
    except OSError:
        return
    for controllers, name in groups:
        if controllers and "memory" not in controllers.split(","):
            continue
        where, limit, used, whole = _EARLIER if controllers else _UNIFIED
        root = _CGROUPS / where
        inside = root / name.lstrip("/")
        for group in (inside, *inside.parents):
            try:
                most = (group / limit).read_text().strip()
                if most.isdecimal() and int(most) < _NO_LIMIT:
                    taken = int((group / used).read_text())
                    found = dict(_numbers(group / "memory.stat"))
                    files = sum(found.get(f"{whole}{how}active_file", 0) for how in ("", "in"))
                    yield Memory(int(most), int(most) - taken + files)
            except (OSError, ValueError):
                pass  # a container does not see what it is in itself
            if group == root:
                break


def _numbers(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the name and the number that each line begins with."""
    for line in path.read_text().splitlines():
        name, _, rest = line.partition(" ")
        number = rest.split()[:1]
        if number and number[0].isdecimal():
            yield name, int(number[0])
