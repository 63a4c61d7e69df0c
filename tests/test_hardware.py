"""Cores and memory of this process, not of the host."""

import os

import pytest

from focvs.hardware import multiplies_bfloat16, peak_memory_mib, usable_cores, usable_memory_mib


@pytest.fixture
def many(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)


def test_cores_are_those_of_the_affinity_mask(many, tmp_path, monkeypatch):
    assert usable_cores({}, tmp_path) == 64
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7}, raising=False)
    assert usable_cores({}, tmp_path) == 2


@pytest.mark.parametrize(
    ("quota", "variables", "cores"),
    [
        ("200000 100000", {}, 2),
        ("150000 100000", {}, 2),
        ("50000 100000", {}, 1),
        ("max 100000", {}, 64),
        ("nonsense", {}, 64),
        ("max 100000", {"SLURM_CPUS_PER_TASK": "8"}, 8),
        ("400000 100000", {"SLURM_CPUS_PER_TASK": "8", "OMP_NUM_THREADS": "3"}, 3),
        ("max 100000", {"OMP_NUM_THREADS": "many"}, 64),
        ("max 100000", {"OMP_NUM_THREADS": "0"}, 1),
    ],
)
def test_containers_and_schedulers_limit_them(many, tmp_path, quota, variables, cores):
    (tmp_path / "cpu.max").write_text(quota + "\n")
    assert usable_cores(variables, tmp_path) == cores


def test_memory_is_the_least_of_machine_and_container(tmp_path):
    meminfo = tmp_path / "meminfo"
    assert usable_memory_mib(tmp_path, meminfo) is None
    meminfo.write_text("MemTotal:       32000000 kB\nMemAvailable:   10485760 kB\n")
    assert usable_memory_mib(tmp_path, meminfo) == 10240
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1048576\n")
    assert usable_memory_mib(tmp_path, meminfo) == 10240
    (tmp_path / "memory.max").write_text(f"{3 * 2**20}\n")
    assert usable_memory_mib(tmp_path, meminfo) == 2


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [({"avx2": True, "avx512_bf16": False}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True)],
)
def test_units_for_bfloat16_are_those_the_processor_names(monkeypatch, capabilities, expected):
    import torch

    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities | {"cpu_name": "bf16"}, raising=False)
    assert multiplies_bfloat16() is expected


def test_memory_is_known_where_the_system_says_it(monkeypatch):
    assert peak_memory_mib() > 50
    monkeypatch.setitem(__import__("sys").modules, "resource", None)  # as on Windows
    assert peak_memory_mib() is None
