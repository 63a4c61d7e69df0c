import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.stacks import open_stacks
from focvs.scan.scan import read_scan
from stacked import settings


@pytest.mark.parametrize(
    "overrides",
    [[], ["sampler=dpmpp_2m", "consistency=ddnm", "batch=2", "samples=2"], ["noise=5", "consistency=diffpir"]],
    ids=str,
)
def test_every_level_holds_to_both(tmp_path, axial, sagittal, tiny_conditioned_prior, overrides):
    """Without the last replacement, which would hide it."""
    overrides = ["align=headers", "final_replacement=false", *overrides]
    both = super_resolve(settings(axial, [sagittal], tmp_path / "both", tiny_conditioned_prior, *overrides))
    alone = super_resolve(settings(axial, [], tmp_path / "alone", tiny_conditioned_prior, *overrides))
    scan = read_scan(axial)
    config = settings(axial, [sagittal], tmp_path, tiny_conditioned_prior, "align=headers")
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    far, near = (
        stack.operator(image.shape, image.affine).residual(torch.from_numpy(image.get_fdata()), stack.slices).std()
        for image in (nib.load(alone["mean"]), nib.load(both["mean"]))
    )
    assert near < 0.6 * far


def test_nothing_is_replaced_where_nothing_is_asked_to_be(tmp_path, axial, sagittal, tiny_prior):
    words = ["align=headers", "consistency=none", "sampler=dpmpp_2m"]
    both = super_resolve(settings(axial, [sagittal], tmp_path / "both", tiny_prior, *words))
    alone = super_resolve(settings(axial, [], tmp_path / "alone", tiny_prior, *words))
    assert np.array_equal(nib.load(both["mean"]).get_fdata(), nib.load(alone["mean"]).get_fdata())
