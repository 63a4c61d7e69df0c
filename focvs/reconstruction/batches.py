"""As many samples at once as memory holds; each is the same in any batch on one type of device."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from focvs.config import parse_auto
from focvs.errors import is_out_of_memory
from focvs.reconstruction.case import Case
from focvs.reconstruction.progress import Progress
from focvs.run_config import RunConfig
from focvs.sampling.samplers import NoiseSource

# the samples of some numbers, from 0, ``(count, p, q, n)`` from the noise of each
Drawer = Callable[[NoiseSource, range], Tensor]
VOLUMES_PER_SAMPLE, SHARE_OF_MEMORY = 12, 0.6  # that a step holds of each sample, and of a GPU that they may take
log = logging.getLogger(__name__)


def draw_batches(case: Case, config: RunConfig, drawer: Drawer, progress: Progress, numbers: range) -> Tensor:
    """Samples of some numbers ``(count, p, q, n)`` on the CPU, float32; fewer at once from where memory runs out.

    Args:
        case: for the device, and the shape of its volume.
        config: batch and seed.
        drawer: draws as many as it is asked for.
        progress: goes back where samples have to be drawn again.
        numbers: of the samples, from 0.

    Raises:
        RuntimeError or MemoryError: as torch says that memory ran out, if a single sample does not fit.
    """
    on_gpu = torch.device(case.device).type == "cuda"
    shape = (*case.start.shape[:2], case.acquisition.grid.voxels)
    volumes = torch.empty((len(numbers), *shape), pin_memory=on_gpu)
    at_once, first = samples_at_once(case, config), 0
    while first < len(numbers):
        some = numbers[first : first + at_once]
        noise, count = NoiseSource(config.seed, [m + 1 for m in some], case.device), len(some)
        before = progress.done
        try:
            found = drawer(noise, some).float()
        except (MemoryError, RuntimeError) as error:
            if count == 1 or not is_out_of_memory(error):
                raise
            at_once = count // 2
            if on_gpu:
                torch.cuda.empty_cache()
            progress.advance(before - progress.done)
            log.info("memory ran out: %d samples at once from here on", at_once)
            continue
        volumes[first : first + count].copy_(found, non_blocking=on_gpu)
        first += count
    if on_gpu:
        torch.cuda.synchronize(case.device)
    return volumes


def samples_at_once(case: Case, config: RunConfig) -> int:
    """How many samples are computed together: ``batch=``, or what the free memory of a GPU holds, else one."""
    given = parse_auto("batch", config.batch)
    if given is not None:
        return int(given)
    if torch.device(case.device).type != "cuda" or case.prior.dimensions == 3:
        return 1
    free, _ = torch.cuda.mem_get_info(case.device)
    each = VOLUMES_PER_SAMPLE * case.start.numel() * case.start.element_size()
    return max(1, min(config.samples, int(SHARE_OF_MEMORY * free / each)))
