"""A prior as the denoiser of whole volumes: a 3D one, or a 2D one on planes that hold the slice axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from focvs.errors import InputError
from focvs.priors.denoiser import Denoiser
from focvs.priors.planes import AlternatedPlanes, AveragedPlanes, PlaneDenoiser, mirrored, mirrored_in_turn
from focvs.priors.volumetric import Orientation, VolumeDenoiser, turned_in_turn
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.voxels import voxel_window
from focvs.run_config import Planes, RunConfig


def volume_denoiser(
    case: Case,
    network: Callable[..., Tensor],
    config: RunConfig,
    plan: Plan,
    outside: float | None = None,
    done: Callable[[float], None] | None = None,
    told: tuple[Tensor, ...] = (),
) -> Denoiser:
    """The denoiser of ``(b, p, q, total)`` volumes.

    Args:
        case: for its prior, its interpolated scan and its orientation.
        network: the prior's denoiser, in the units of the volume.
        config: planes, patch and overlap.
        plan: noise levels and noise.
        outside: value of what a 2D prior does not compute, away from the head; None takes the interpolated scan.
        done: called with fractions of an evaluation, of all slices of a plane or of the whole volume, as they are done.
        told: volumes that a 2D prior sees besides the interpolated scan.

    Raises:
        InputError: if the plane asked for does not contain the slice axis.
    """
    prior = case.prior
    if prior.dimensions == 3:
        scan, background = case.scan, case.start.to(case.device)
        numbers = case.numbers(plan.noise_prior) if prior.conditioned else None
        patch = None if config.prior.patch is None else tuple(config.prior.patch)
        orientation = Orientation(scan.orientation, prior.axes or scan.orientation)
        whole = VolumeDenoiser(
            network, orientation, background, prior.shape, patch, config.prior.overlap, prior.multiple, numbers
        )
        if config.sampler.name == "mean":
            turns = [_counted(turn, done) for turn in turned_in_turn(whole)[: config.sampler.mirrors]]
            return AveragedPlanes(turns)
        return _counted(AlternatedPlanes(turned_in_turn(whole), plan.sigmas) if prior.mirrored else whole, done)
    members = [
        replace(p, outside=outside, done=done, further=told) for p in plane_denoisers(case, network, config, plan)
    ]
    if config.sampler.name == "mean":
        return AveragedPlanes(mirrored(members, config.sampler.mirrors))
    if len(members) == 1:
        return members[0]
    if config.planes is Planes.average:
        return AveragedPlanes(members)
    return AlternatedPlanes(mirrored_in_turn(members) if prior.mirrored else members, plan.sigmas)


def plane_denoisers(case: Case, network: Callable[..., Tensor], config: RunConfig, plan: Plan) -> list[PlaneDenoiser]:
    """A 2D prior on slices of the planes that ``planes=`` names: both that hold the slice axis, or one of them.

    Raises:
        InputError: for a plane that does not contain the slice axis.
    """
    prior, names, planes = case.prior, case.scan.plane_names, config.planes
    both = planes in (Planes.average, Planes.alternate)
    if not both and planes.value not in names:
        raise InputError(
            f"planes={planes.value} does not contain the {case.scan.slice_direction} slice axis; "
            f"choose average, alternate, {names[0]} or {names[1]}."
        )
    return [
        PlaneDenoiser(
            network,
            across,
            voxel_window(case.acquisition.grid, case.slices.region.slices),
            case.start.to(case.device),
            case.numbers(plan.noise_prior) if prior.conditioned else None,
            slab=prior.slab,
            head=case.head,
        )
        for across in ((0, 1) if both else (names.index(planes.value),))
    ]


def _counted(denoise: Denoiser, done: Callable[[float], None] | None) -> Denoiser:
    """The same, each of whose items counts as an evaluation."""
    if done is None:
        return denoise

    def counting(x: Tensor, sigma: float) -> Tensor:
        out = denoise(x, sigma)
        done(len(x))
        return out

    return counting
