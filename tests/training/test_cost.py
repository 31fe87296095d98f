"""The article's arithmetic, done right."""

from __future__ import annotations

import pytest

from app.training.calibration import Sample, fit_calibration
from app.training.cost import Calibration, network_cost


def test_the_worked_example_has_91_parameters_and_75_multiply_adds() -> None:
    cost = network_cost([2, 10, 5, 1])
    assert cost.parameters == (2 * 10 + 10) + (10 * 5 + 5) + (5 * 1 + 1) == 91
    assert cost.multiply_adds_forward == 20 + 50 + 5 == 75
    assert cost.forward_flops == 150
    # By weights 150, by biases 16, by the inputs of the last two layers 110.
    assert cost.backward_flops == 150 + 16 + 110


def test_the_demo_s_network() -> None:
    cost = network_cost([784, 128, 10])
    assert cost.parameters == 101_770
    assert [layer.parameters for layer in cost.layers] == [100_480, 1_290]


def test_deep_stacks_near_the_rule_of_six_flops_per_parameter() -> None:
    cost = network_cost([512] * 20)
    assert cost.flops / cost.parameters == pytest.approx(6, rel=0.03)


@pytest.mark.parametrize("widths", [[], [784], [784, 0, 10]])
def test_no_stack_no_cost(widths: list[int]) -> None:
    with pytest.raises(ValueError, match="widths"):
        network_cost(widths)


def test_calibration_finds_the_constants_behind_exact_times() -> None:
    truth = Calibration(overhead_s=1e-4, flops_per_s=5e10, seconds_per_parameter=4e-10)
    stacks = [([784, 8, 10], 8), ([784, 192, 10], 8), ([784, 64, 10], 64), ([784, 192, 10], 64)]
    samples = [
        Sample(network_cost(widths), batch, truth.step_seconds(network_cost(widths), batch)) for widths, batch in stacks
    ]
    found = fit_calibration(samples)
    assert found.overhead_s == pytest.approx(truth.overhead_s)
    assert found.flops_per_s == pytest.approx(truth.flops_per_s)
    assert found.seconds_per_parameter == pytest.approx(truth.seconds_per_parameter)


def test_noise_never_makes_a_constant_negative() -> None:
    costs = [network_cost([784, hidden, 10]) for hidden in (8, 192, 64, 192)]
    samples = [Sample(cost, batch, time) for cost, batch, time in zip(costs, (8, 8, 64, 64), (9, 5, 6, 7), strict=True)]
    found = fit_calibration(samples)
    assert found.overhead_s >= 0
    assert found.flops_per_s > 0
    assert found.seconds_per_parameter >= 0


def test_three_constants_need_three_measurements() -> None:
    with pytest.raises(ValueError, match="three"):
        fit_calibration([Sample(network_cost([2, 1]), 1, 1.0)])
