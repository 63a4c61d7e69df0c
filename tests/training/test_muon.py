"""Muon on convolutions: orthogonal updates of AdamW's size, the rest by AdamW, states that come back."""

import pytest
import torch
from torch import nn

from focvs.training.muon import MuonAdamW


def network():
    torch.manual_seed(0)
    layers = {"stem": nn.Conv2d(2, 8, 3), "body": nn.Conv2d(8, 8, 3), "head": nn.Conv2d(8, 2, 3)}
    return nn.ModuleDict(layers).to(memory_format=torch.channels_last)


def backward(net, seed=0):
    x = torch.randn(4, 2, 12, 12, generator=torch.Generator().manual_seed(seed))
    net["head"](net["body"](net["stem"](x)).relu()).square().mean().backward()


def test_hidden_convolutions_move_orthogonally_and_by_the_size_of_adamw():
    net = network()
    optimiser = MuonAdamW(net, learning_rate=1e-3, weight_decay=0.0)
    before = net["body"].weight.detach().clone()
    backward(net)
    optimiser.step()
    change = (net["body"].weight.detach() - before).flatten(1)
    values = torch.linalg.svdvals(change)
    assert values.max() < 2.0 * values.min()  # five Newton-Schulz steps bring them near each other
    assert float(change.square().mean().sqrt()) == pytest.approx(0.2 * 1e-3, rel=0.3)  # of AdamW, by its paper


def test_first_and_last_layer_and_biases_are_left_to_adamw():
    net = network()
    optimiser = MuonAdamW(net)
    assert [parameter.shape for parameter, _ in optimiser.pairs] == [net["body"].weight.shape]
    others = {id(p) for group in optimiser.adamw.param_groups for p in group["params"]}
    expected = [net["stem"].weight, net["head"].weight, *(net[name].bias for name in net)]
    assert others == {id(p) for p in expected}


def test_a_factor_of_zero_stops_everything():
    net = network()
    before = [p.detach().clone() for p in net.parameters()]
    backward(net)
    MuonAdamW(net).step(0.0)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_states_come_back():
    whole, parts = network(), network()
    first, second = MuonAdamW(whole), MuonAdamW(parts)
    for seed in range(2):
        backward(whole, seed)
        first.step()
        whole.zero_grad()
    backward(parts, 0)
    second.step()
    parts.zero_grad()
    resumed = MuonAdamW(parts)
    resumed.load_state_dict(second.state_dict())
    backward(parts, 1)
    resumed.step()
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))
