import numpy as np
from omegaconf import OmegaConf

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile, make_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.stack_operator import StackOperator
from focvs.commands.overrides import compose, quote
from scans import write_scan

VOXEL, THICK = 1.2, 3.6  # mm
UNMOVED = np.eye(4)
SHAPE = (12, 8, 15)


def centred(shape, columns):
    """An affine about the origin with these columns."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, axis=1)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def stack_of(path, stack_head, axis, turned=UNMOVED, noise=0.0, scale=1.0):
    """A scan with slices of 3.6 mm along ``axis`` of the stack_head; ``turned`` is what its header gets wrong."""
    slices = simulate_slices(np.moveaxis(stack_head, axis, -1), VOXEL, gaussian_profile(THICK), THICK)
    slices = scale * np.moveaxis(slices, -1, axis)
    slices = slices + noise * np.random.default_rng(axis).normal(size=slices.shape)
    steps = np.eye(3) * VOXEL
    steps[axis, axis] = THICK
    return write_scan(path, slices.astype(np.float32), turned @ centred(slices.shape, steps))


def settings(scan, stacks, out, prior, *overrides):
    words = [f"scan={quote(str(scan))}", f"stacks=[{','.join(quote(str(s)) for s in stacks)}]", "thickness=3.6"]
    words += [f"prior.path={quote(str(prior))}", f"output_dir={quote(str(out))}", "samples=1", "steps=2"]
    words += ["quality=samples", "precision=float32"]
    return OmegaConf.to_object(compose("config", [*words, "progress=false", *overrides]))


def sideways(fine=(1, 1), turned=UNMOVED):
    """Operator of slices of 4 mm every 3 mm along the first axis of ``SHAPE`` voxels of 1 mm."""
    profile = make_profile("rect", 4.0)
    operator = ThroughPlaneOperator(profile, make_grid(4, 3.0, 1.0, profile.half_support_mm))
    pixels = (SHAPE[1] // fine[0], SHAPE[2] // fine[1])
    columns = np.eye(3)[:, [1, 2, 0]] * (*fine, 3.0)
    affine = turned @ centred((*pixels, 4), columns.T)
    return StackOperator(SHAPE, centred(SHAPE, np.eye(3)), operator, pixels, affine, fine)
