"""Random profiles, bundle configurations, networks and reports: an answer or one sentence, and no bomb goes off.

As of tests/test_fuzz.py, ``FOCVS_FUZZ=10000`` tries that many of each; few are tried without it.
"""

from __future__ import annotations

import io
import json
import struct
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from focvs.commands.collect import _row
from focvs.commands.reproduce import reproduce
from focvs.errors import FocvsError, PriorError
from focvs.locks import read_lock
from focvs.priors.bundles import monai_denoiser
from focvs.priors.mean_network import MeanUNet2D
from focvs.priors.own import load_own
from focvs.priors.weights import CONFIG, WEIGHTS, read_weights
from focvs.reconstruction.thickness import load_profile
from focvs.run_config import ProfileConfig
from test_fuzz import LIMITS, is_one_sentence

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def changed(content: bytes, changes: list[tuple[int, int]], cut: int | None) -> bytes:
    out = bytearray(content)
    for place, value in changes:
        out[place % len(out)] = value
    return bytes(out[:cut])


BYTES = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6)


@LIMITS
@given(
    st.one_of(
        st.lists(st.floats(width=32), max_size=12).map(np.array),
        st.lists(st.tuples(st.floats(-20, 20), st.floats(0, 2)), min_size=1, max_size=12).map(np.array),
    ),
    BYTES,
    st.none() | st.integers(0, 200),
)
def test_profiles(tmp_path_factory, values, changes, cut):
    stream = io.BytesIO()
    np.save(stream, values)
    path = tmp_path_factory.getbasetemp() / "profile.npy"
    path.write_bytes(changed(stream.getvalue(), changes, cut))
    try:
        profile = load_profile(ProfileConfig(kind="sampled", path=str(path)), 5.0)
    except FocvsError as error:
        is_one_sentence(error, "profile=")
        return
    assert 0 < profile.fwhm_mm < np.inf and 0 < profile.half_support_mm < np.inf


TARGETS = st.sampled_from(
    ["DiffusionModelUNet", "monai.networks.nets.DiffusionModelUNet", "os.system", "DDPMScheduler"]
)
DEFINITION = st.dictionaries(
    st.sampled_from(["_target_", "spatial_dims", "in_channels", "out_channels", "channels", "num_res_blocks", "x"]),
    st.one_of(TARGETS, JSON, st.sampled_from(["@a", "@b::0", "$__import__('os')", [10**9] * 3, 10**12])),
    max_size=5,
)


@LIMITS
@given(
    st.dictionaries(
        st.sampled_from(["network_def", "unet", "noise_scheduler", "scheduler", "a", "b"]),
        st.one_of(DEFINITION, JSON),
        max_size=5,
    )
)
def test_bundle_configurations(tmp_path_factory, config):
    folder = tmp_path_factory.getbasetemp() / "bundle"
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "model.safetensors").write_bytes(save({"a": torch.zeros(1)}))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    with pytest.raises(PriorError) as refused:  # whatever it says, these are not the weights of a network
        monai_denoiser(folder)
    is_one_sentence(refused.value, "")


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    MeanUNet2D(channels=(8,), blocks=(1,)).save_pretrained(folder)
    return folder


@LIMITS
@given(BYTES, st.none() | st.integers(0, 4000))
def test_safetensors_headers(tmp_path_factory, network, changes, cut):
    content = (network / WEIGHTS).read_bytes()
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(changed(content, changes, cut))
    try:
        read_weights(path)
    except PriorError as error:
        is_one_sentence(error, "fuzzed.safetensors")


NUMBERS = st.one_of(st.integers(-3, 10), st.just(10**9), JSON)


@LIMITS
@given(
    st.one_of(
        JSON,
        st.fixed_dictionaries(
            {"_class_name": st.sampled_from(["MeanUNet2D", "HaarUNet2D", "os.system"])},
            optional={
                "channels": st.lists(NUMBERS, max_size=4),
                "blocks": st.lists(NUMBERS, max_size=4),
                "slab": NUMBERS,
                "images": NUMBERS,
                "sigma_residual": NUMBERS,
                "block_out_channels": st.lists(NUMBERS, max_size=3),
            },
        ),
    )
)
def test_configurations_of_networks(tmp_path_factory, network, config):
    folder = tmp_path_factory.getbasetemp() / "odd"
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_bytes((network / WEIGHTS).read_bytes())
    (folder / CONFIG).write_text(json.dumps(config))
    try:
        load_own(folder, "cpu")
    except PriorError as error:
        is_one_sentence(error, "odd")


@LIMITS
@given(
    st.one_of(
        JSON, st.dictionaries(st.sampled_from(["version", "config", "scan_sha256", "prior", "acquisition"]), JSON)
    )
)
def test_reports_and_locks(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "a_focvs.json"
    path.write_text(json.dumps(content))
    with pytest.raises(FocvsError) as refused:
        reproduce(path)
    is_one_sentence(refused.value, "a_focvs.json")
    assert _row(path, folder) is None
    assert read_lock(path) is None or isinstance(read_lock(path), dict)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a]\n"
        + "".join(f"{k}: &{k} [{', '.join(['*' + p] * 8)}]\n" for p, k in zip("bcdefgh", "cdefghi", strict=True))
        + "network_def: {_target_: DiffusionModelUNet, channels: *i}\n",
        json.dumps(
            {"network_def": {"channels": "@a0"}} | {f"a{k}": [f"@a{k + 1}"] * 9 for k in range(19)} | {"a19": 1}
        ),
        json.dumps({"network_def": "[" * 100}) + "[" * 5000,
        "#" * 2**21,
    ],
    ids=["aliases", "references", "depth", "size"],
)
def test_bombs_in_bundles(tmp_path, text):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.yaml").write_text(text)
    began = time.monotonic()
    with pytest.raises(PriorError):
        monai_denoiser(tmp_path)
    assert time.monotonic() - began < 30


def test_a_header_that_promises_terabytes(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path = tmp_path / "big.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(64))
    with pytest.raises(PriorError, match="could not be read"):
        read_weights(path)
    profile = tmp_path / "big.npy"
    head = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1099511627776,), }"
    profile.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64))
    with pytest.raises(FocvsError, match="could not be used"):
        load_profile(ProfileConfig(kind="sampled", path=str(profile)), 5.0)
