import numpy as np
import pytest

from scoter.errors import ConfigError
from scoter.reasoning.discovery.halving import halving_units, successive_halving


def slow_twin(curves, first_units):
    """Written the other way round: candidates are struck out one by one, worst first, the later one
    among equals."""
    alive, spent, units = set(range(len(curves))), np.zeros(len(curves), int), first_units
    total = 0
    while len(alive) > 1:
        for candidate in alive:
            spent[candidate] += units
            total += units
        keep = len(alive) // 2
        while len(alive) > keep:
            alive.remove(
                max(alive, key=lambda candidate: (-curves[candidate][spent[candidate]], candidate))
            )
        units *= 2
    return alive.pop(), total


@pytest.mark.parametrize("candidates", [1, 2, 3, 4, 5, 7, 8, 13])
@pytest.mark.parametrize("first_units", [1, 3])
def test_equals_striking_out_by_hand(candidates, first_units):
    rng = np.random.default_rng(candidates)
    for _ in range(30):
        curves = rng.integers(0, 4, size=(candidates, 64)) / 4  # many ties
        spent = np.zeros(candidates, int)

        def advance(candidate, units, curves=curves, spent=spent):
            spent[candidate] += units
            return float(curves[candidate][spent[candidate]])

        winner, rounds = successive_halving(candidates, first_units, advance)
        assert (winner, int(spent.sum())) == slow_twin(curves, first_units)
        assert halving_units(candidates, first_units) == (spent.sum(), spent[winner])
        assert [len(turn.candidates) for turn in rounds] == [
            candidates >> step for step in range(len(rounds))
        ]


def test_the_best_wins_where_rounds_agree_and_is_lost_where_it_starts_late():
    order = np.random.default_rng(0).permutation(16)
    assert (
        successive_halving(16, 1, lambda candidate, units: float(order[candidate]))[0]
        == order.argmax()
    )
    late = {0: 0.0, 1: 0.5, 2: 0.4, 3: 0.3}
    assert (
        successive_halving(
            4, 1, lambda candidate, units: late[candidate] + (units > 1) * (candidate == 0)
        )[0]
        == 1
    )


def test_nothing_to_choose_costs_nothing_and_no_candidate_is_refused():
    def never(candidate, units):
        raise AssertionError

    assert successive_halving(1, 5, never) == (0, [])
    with pytest.raises(
        ConfigError, match="candidates = 0 and first_units = 1; both must be 1 or more"
    ):
        successive_halving(0, 1, never)
