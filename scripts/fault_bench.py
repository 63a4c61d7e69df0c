"""What faults are tried on: small scans and priors, the commands, and what is looked for afterwards."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from PIL import Image

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.networks import HaarUNet2D
from focvs.priors.own import save_prior

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Bench:
    """A folder with scans, priors and training data, and what their files were."""

    folder: Path
    prints: dict[Path, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        torch.manual_seed(0)
        small = {"channels": (8, 12), "blocks": (1, 1), "trained": {"mirrored": True, "voxel_range_mm": [0.5, 3.0]}}
        first = MeanUNet2D(**small)
        for network, name in ((first, "."), (first.next_stage(), "stage2"), (DeviationUNet2D(**small), "deviation")):
            save_prior(network, self.folder / "mean" / name)
        save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4), self.folder / "diffusion")
        for number in range(3):
            head = head_phantom((56, 64, 60), seed=number)[1]
            slices = simulate_slices(1000 * head, 1.2, gaussian_profile(5.0), 6.0)
            write(self.folder / "study" / f"s{number}.nii.gz", slices, (1.2, 1.2, 6.0))
            write(self.folder / "train" / "isotropic" / f"v{number}.nii.gz", 1000 * head, (1.2, 1.2, 1.2))
        self.prints = prints_of(self.folder)

    @property
    def study(self) -> Path:
        return self.folder / "study"

    def prior(self, name: str = "mean") -> str:
        return f"prior.path={self.folder / name}"

    def command(self, kind: str, out: Path) -> list[str]:
        scan, common = str(self.study / "s0.nii.gz"), ["thickness=5", "progress=false"]
        mean = [*common, self.prior()]
        samples = [*common, self.prior("diffusion"), "quality=samples", "samples=1", "steps=2"]
        focvs = [sys.executable, "-m", "focvs.cli"]
        if kind == "folder":
            return [*focvs, str(self.study), str(out), *mean]
        if kind == "folder, workers=2":
            return [*focvs, str(self.study), str(out), *mean, "workers=2"]
        if kind == "one scan":
            return [*focvs, scan, str(out), *mean]
        if kind == "sweep":
            volume = str(self.folder / "train" / "isotropic" / "v0.nii.gz")
            words = ["thickness=4,5", "method=linear,focvs", self.prior()]
            return [*focvs, "sweep", volume, str(out), *words]
        if kind == "adaptation":
            tuned = ["adapt=true", "adaptation.steps=4", f"adaptation.cache={out / 'cache'}"]
            return [*focvs, scan, str(out), *samples, *tuned]
        words = [f"data={self.folder / 'train'}", f"cache={out / 'cache.npz'}", f"output={out / 'run'}"]
        words += ["plan.steps=6", "plan.checkpoint_every=2", "plan.batch_size=2", "pool.volumes=2", "+pool.patch=32"]
        words += ["network.channels=[8,12]", "network.blocks=[1,1]", "+pool.edge=40", "+pool.acquisitions=4"]
        return [sys.executable, str(ROOT / "scripts" / "train_mean.py"), *words]


def still_alive(group: int, patience: float = 10.0) -> list[int]:
    """Processes of a group that are neither gone nor zombies after a while."""
    until = time.monotonic() + patience
    while True:
        found = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, _, own = path.read_text().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(own) == group and state != "Z":
                found.append(int(path.parent.name))
        if not found or time.monotonic() > until:
            return found
        time.sleep(0.1)


def unreadable(folder: Path) -> list[str]:
    """Files under a final name that cannot be read to their end."""
    wrong = []
    for path in folder.rglob("*"):
        if not path.is_file() or path.name.startswith("."):
            continue
        try:
            if path.name.endswith(".nii.gz"):
                np.asarray(nib.load(path).dataobj)
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".png":
                Image.open(path).load()
            elif path.suffix == ".html" and "</html>" not in path.read_text():
                raise ValueError("cut short")
            elif path.suffix == ".pt" and "part" not in path.name:
                torch.load(path, weights_only=True)
            elif path.suffix == ".npz":
                np.load(path).close()
        except Exception as error:  # whatever it is, it is counted
            wrong.append(f"{path.name}: {error}")
            print("unreadable:", wrong[-1], flush=True)
    return wrong


def leftovers(folder: Path) -> list[str]:
    """Temporary files and locks."""
    found = [str(p.relative_to(folder)) for p in folder.rglob("*") if ".part" in p.name or p.name.endswith(".lock")]
    if found:
        print("left:", found, flush=True)
    return found


def write(path: Path, data: np.ndarray, voxel_mm: tuple[float, float, float]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data.astype(np.float32), np.diag([*voxel_mm, 1.0])), path)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def prints_of(folder: Path) -> dict[Path, str]:
    return {path: digest(path) for path in folder.rglob("*") if path.is_file()}


def run(command: list[str], **more: object) -> tuple[int, str]:
    """Exit code and the last line that was said."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **more)  # type: ignore[call-overload]
    lines = [text for text in done.stderr.strip().splitlines() if text]
    trace = "a traceback: " if "Traceback" in done.stderr else ""
    return done.returncode, trace + (lines[-1] if lines else "nothing")


def told(code: int, said: str, bench: Bench, out: Path) -> str:
    for place in (out, bench.folder):
        said = said.replace(f"{place}/", "").replace(str(place), place.name)
    return f"exit {code}: {said.removeprefix('focvs: ')}"


def after(bench: Bench, out: Path, kind: str = "one scan") -> str:
    """What is there, and whether the same command then goes on."""
    wrong, left = unreadable(out), leftovers(out)
    code, _ = run(bench.command(kind, out))
    state = f"{len(wrong)} unreadable, {len(left)} left behind"
    return f"{state}; the same command then {'goes on to its end' if code == 0 else f'ends with {code}'}"
