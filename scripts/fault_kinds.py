"""The faults of scripts/faults.py that happen once, each a function of the bench and an output folder."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib

from fault_bench import Bench, after, leftovers, run, still_alive, told, unreadable

Fault = Callable[[Bench, Path], tuple[str, str]]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[bool]:
    """A small file system in memory; False where this process may not mount one."""
    place.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        there = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        there = False
    try:
        yield there
    finally:
        if there:
            subprocess.run(["umount", str(place)], check=True)


def full_disk(bench: Bench, out: Path) -> tuple[str, str]:
    with mounted(out, "size=1m") as there:
        if not there:
            return "not tried: no file system could be mounted", ""
        code, said = run(bench.command("one scan", out))
        found = told(code, said, bench, out)
        state = f"{len(unreadable(out))} unreadable, {len(leftovers(out))} left behind"
    return found, f"{state}; with room again {after(bench, out).split('; ')[1]}"


def read_only(bench: Bench, out: Path) -> tuple[str, str]:
    with mounted(out, "size=1m,ro") as there:
        if not there:
            return "not tried: no file system could be mounted", ""
        code, said = run(bench.command("one scan", out))
        return told(code, said, bench, out), "nothing was written"


def with_copy(change: Callable[[Path], None], kind: str = "mean") -> Fault:
    """A run with a copy of the prior that was changed."""

    def fault(bench: Bench, out: Path) -> tuple[str, str]:
        copy = out.parent / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bench.folder / kind, copy)
        change(copy / "diffusion_pytorch_model.safetensors")
        words = [word for word in bench.command("one scan", out) if not word.startswith("prior.path")]
        code, said = run([*words, f"prior.path={copy}"])
        return told(code, said, bench, out).replace(f"{copy.parent}/", ""), after(bench, out)

    return fault


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:64] = bytes(64)
    path.write_bytes(bytes(content))


def not_a_number(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    tensors["stem.bias"][:] = float("nan")
    save_file(tensors, path)


def damaged_scan(bench: Bench, out: Path) -> tuple[str, str]:
    whole = (bench.study / "s0.nii.gz").read_bytes()
    scan = out.parent / "damaged.nii.gz"
    scan.write_bytes(whole[: len(whole) // 2] + bytes(40) + whole[len(whole) // 2 + 40 :])
    words = [str(scan) if word.endswith("s0.nii.gz") else word for word in bench.command("one scan", out)]
    code, said = run(words)
    return told(code, said, bench, out).replace(f"{scan.parent}/", ""), after(bench, out)


def damaged_cache(bench: Bench, out: Path) -> tuple[str, str]:
    command = bench.command("adaptation", out)
    run(command)
    stored = [path for path in (out / "cache").rglob("*.safetensors")]
    for path in stored:
        cut(path)
    code, said = run(command)
    state = f"{len(unreadable(out))} unreadable; {len(stored)} file of the cache was cut in half"
    return told(code, said, bench, out), state


def two_runs(bench: Bench, out: Path) -> tuple[str, str]:
    command = bench.command("folder", out)
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while first.poll() is None and not list(out.glob(".focvs_cohort.lock")):
        time.sleep(0.05)
    code, said = run(command)
    first.wait()
    return told(code, said, bench, out), f"the first run ends with {first.returncode}; {after(bench, out, 'folder')}"


def stale_lock(bench: Bench, out: Path) -> tuple[str, str]:
    command = bench.command("folder", out)
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while first.poll() is None and not list(out.rglob(".s*.lock")):
        time.sleep(0.05)
    first.kill()
    first.wait()
    locks = len(list(out.rglob("*.lock")))
    code, said = run(command)
    return f"{locks} locks of a run that was killed; {told(code, said, bench, out)}", after(bench, out, "folder")


def ended(kind: str, number: signal.Signals) -> Fault:
    def fault(bench: Bench, out: Path) -> tuple[str, str]:
        process = subprocess.Popen(
            bench.command(kind, out),
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells have background jobs ignore it
        )
        while process.poll() is None and not list(out.rglob(".s*.lock")):
            time.sleep(0.02)
        process.send_signal(number)
        assert process.stderr is not None
        said = process.stderr.read().strip().splitlines()[-1]
        process.wait()
        state = f"{len(still_alive(process.pid))} processes, {after(bench, out, kind)}"
        return told(process.returncode, said, bench, out), state

    return fault


def in_surroundings(**variables: str) -> Fault:
    """A run with odd environment variables; ``UMASK`` is that of its files."""

    def fault(bench: Bench, out: Path) -> tuple[str, str]:
        mask = int(variables.get("UMASK", "022"), 8)
        surroundings = {**os.environ, **variables}
        code, said = run(bench.command("one scan", out), env=surroundings, umask=mask)
        modes = {oct(path.stat().st_mode & 0o777) for path in out.glob("*") if path.is_file()}
        return told(code, said, bench, out), f"{after(bench, out)}; files have mode {', '.join(sorted(modes))}"

    return fault


def future(bench: Bench, out: Path) -> tuple[str, str]:
    """The results of a run that a clock of the year 2100 dated."""
    run(bench.command("folder", out))
    for path in out.rglob("*"):
        os.utime(path, (4102444800, 4102444800))
    code, said = run(bench.command("folder", out))
    return told(code, said, bench, out), after(bench, out, "folder")


def clock_of(when: str) -> Fault:
    """A run that is told of another date (Debian's faketime); the next one has the true clock again."""

    def fault(bench: Bench, out: Path) -> tuple[str, str]:
        if shutil.which("faketime") is None:
            return "not tried: faketime is not installed", ""
        code, said = run(["faketime", when, *bench.command("one scan", out)])
        return told(code, said, bench, out), after(bench, out)

    return fault


def surrogate_name(bench: Bench, out: Path) -> tuple[str, str]:
    scan = Path(os.fsdecode(os.fsencode(out.parent) + b"/na\xefve \xff.nii.gz"))
    shutil.copy(bench.study / "s0.nii.gz", scan)
    words = [str(scan) if word.endswith("s0.nii.gz") else word for word in bench.command("one scan", out)]
    code, said = run(words)
    return told(code, said, bench, out).encode("ascii", "replace").decode(), after(bench, out)


def gzip_bomb(bench: Bench, out: Path) -> tuple[str, str]:
    """A header that promises 2 MB, and a gzip stream of 2 GiB of zeros behind it."""
    scan = out.parent / "bomb.nii.gz"
    header = nib.load(bench.study / "s0.nii.gz").header.binaryblock
    with gzip.open(scan, "wb", compresslevel=1) as stream:
        stream.write(header + bytes(4))
        for _ in range(128):
            stream.write(bytes(2**24))
    words = [str(scan) if word.endswith("s0.nii.gz") else word for word in bench.command("one scan", out)]
    code, said = run(words)
    return told(code, said, bench, out).replace(f"{scan.parent}/", ""), after(bench, out)


FAULTS: dict[str, Fault] = {
    "the disk is full (1 MiB)": full_disk,
    "the output folder is read-only": read_only,
    "weights cut in half": with_copy(cut),
    "weights whose first 64 bytes are zero": with_copy(zeroed),
    "a network that gives NaN": with_copy(not_a_number),
    "a gzip stream damaged in the middle": damaged_scan,
    "a gzip stream of 2 GiB behind a small header": gzip_bomb,
    "the cache of an adaptation cut in half": damaged_cache,
    "two runs want one folder": two_runs,
    "locks of a run that was killed": stale_lock,
    "SIGTERM, one scan": ended("one scan", signal.SIGTERM),
    "SIGTERM, folder, workers=2": ended("folder, workers=2", signal.SIGTERM),
    "Ctrl-C, folder": ended("folder", signal.SIGINT),
    "LC_ALL=C, no UTF-8": in_surroundings(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0"),
    "LC_ALL=tr_TR.UTF-8": in_surroundings(LC_ALL="tr_TR.UTF-8"),
    "TZ of another calendar day": in_surroundings(TZ="Pacific/Kiritimati"),
    "no HOME": in_surroundings(HOME="/nonexistent"),
    "umask 077": in_surroundings(UMASK="077"),
    "umask 000": in_surroundings(UMASK="000"),
    "results dated 2100": future,
    "a clock of 1971": clock_of("1971-01-02 03:04:05"),
    "a clock of 2037": clock_of("2037-12-31 23:59:50"),
    "a name that is no UTF-8": surrogate_name,
}
