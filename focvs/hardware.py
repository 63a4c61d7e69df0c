"""What of this machine a run may use: cores, memory, and whether its processor multiplies bfloat16 fast."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
MEMINFO = Path("/proc/meminfo")
CORE_LIMITS = ("SLURM_CPUS_PER_TASK", "OMP_NUM_THREADS")  # environment variables that say how many cores are ours


def usable_cores(environment: Mapping[str, str] | None = None, cgroup: Path = CGROUP) -> int:
    """Cores this process may use: those of its affinity mask, of its cgroup's quota, and of :data:`CORE_LIMITS`.

    Args:
        environment: variables; None takes those of the process.
        cgroup: where the limits of a container are.
    """
    variables = os.environ if environment is None else environment
    affinity = getattr(os, "sched_getaffinity", None)
    limits = [len(affinity(0)) if affinity else os.cpu_count() or 1]
    quota, _, period = _read(cgroup / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        limits.append(math.ceil(int(quota) / int(period)))
    limits += [int(word) for name in CORE_LIMITS if (word := variables.get(name, "")).isdigit()]
    return max(1, min(limits))


def usable_memory_mib(cgroup: Path = CGROUP, meminfo: Path = MEMINFO) -> float | None:
    """Memory that is free for this process, within the limit of its cgroup; None where the system does not say."""
    found = []
    for line in _read(meminfo).splitlines():
        if line.startswith("MemAvailable:"):
            found.append(float(line.split()[1]) / 1024)
    limit, used = (_read(cgroup / name).strip() for name in ("memory.max", "memory.current"))
    if limit.isdigit() and used.isdigit():
        found.append((int(limit) - int(used)) / 2**20)
    return min(found, default=None)


def peak_memory_mib() -> float | None:
    """Largest resident memory of this process so far; None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 2**20 if sys.platform == "darwin" else peak / 2**10, 1)


def multiplies_bfloat16() -> bool:
    """Whether the processor has units for it (AVX512-BF16, AMX, or those of Arm); others are many times slower."""
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return any(known is True and "bf16" in name for name, known in capabilities().items())
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
