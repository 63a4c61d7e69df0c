"""Which rule is used, and whether the last exact replacement is made."""

import pytest

from focvs.reconstruction.rules import carried_over, choose_rule, takes_bias_off
from focvs.run_config import ConsistencyConfig, RunConfig


@pytest.mark.parametrize(
    ("rule", "asked", "condition", "noise_percent", "stacks", "expected"),
    [
        ("calibrated", "auto", 1.3, 1, 0, ("calibrated", True)),
        ("calibrated", "auto", 1.3, 3.9, 0, ("calibrated", True)),
        ("calibrated", "auto", 1.3, 4.1, 0, ("calibrated", False)),
        ("calibrated", "auto", 1.3, 4.1, 1, ("calibrated", True)),  # several stacks are reconciled
        ("calibrated", True, 1.3, 4.1, 0, ("calibrated", True)),
        ("calibrated", False, 1.3, 0, 0, ("calibrated", False)),
        ("ddnm", "auto", 1.3, 10, 0, ("ddnm", True)),  # exact at every step
        ("ddnm", "auto", 20, 0, 0, ("calibrated", False)),
        ("calibrated", True, 20, 0, 0, ("calibrated", False)),
        ("none", "auto", 1.3, 0, 0, ("none", False)),
    ],
)
def test_exactness_depends_on_overlap_noise_and_what_was_asked(rule, asked, condition, noise_percent, stacks, expected):
    config = RunConfig(consistency=ConsistencyConfig(rule=rule), final_replacement=asked)
    *chosen, reason = choose_rule(config, condition, 2 * noise_percent / 100, stacks)
    assert tuple(chosen) == expected
    assert f"noise {noise_percent:.2g} % of the white level" in reason


def test_only_much_noise_is_worth_a_word():
    assert carried_over(0.024) == []
    assert "2.6 % of the white level" in carried_over(0.026)[0]


@pytest.mark.parametrize(
    ("asked", "stacks", "exact", "noise_percent", "expected"),
    [
        ("auto", [], False, 5, True),
        ("auto", [], True, 5, False),  # the scan is to be reproduced
        ("auto", ["b.nii"], False, 5, False),  # the others would keep theirs
        ("auto", [], False, 3, False),
        ("off", [], False, 5, False),
    ],
)
def test_bias_is_taken_off_a_noisy_scan_that_is_not_reproduced(asked, stacks, exact, noise_percent, expected):
    assert takes_bias_off(RunConfig(rician_bias=asked, stacks=stacks), exact, 2 * noise_percent / 100) is expected
