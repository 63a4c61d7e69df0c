import torch

from problems import problem_of


def test_the_interpolated_scan_reproduces_the_slices(baseline_head):
    problem = problem_of(baseline_head.double())
    assert torch.allclose(problem.operator(problem.interpolated), problem.y, atol=1e-10)
