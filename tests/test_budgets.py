"""The perturbation budget of a norm, and the warning for one that looks like the other norm's."""

from __future__ import annotations

import logging

import pytest

from monai_ima.utils.budgets import by_norm, warn_of_other_norm

PAPER = {"linf": 0.3, "l2": 1.5}


def test_a_norm_takes_its_own_value():
    assert by_norm(PAPER, "linf") == 0.3
    assert by_norm(PAPER, "l2") == 1.5


@pytest.mark.parametrize("call", [lambda norm: by_norm(PAPER, norm), lambda norm: warn_of_other_norm(1.0, norm, PAPER)])
def test_an_unknown_norm_is_refused_in_a_sentence_that_names_the_known_ones(call):
    with pytest.raises(ValueError, match=r"^Unknown norm 'L2', expected 'l2' or 'linf'\.$"):
        call("L2")


@pytest.mark.parametrize("eps_max", [0, -0.3, float("inf"), "0.3", None])
def test_an_eps_max_that_is_no_radius_is_refused(eps_max):
    with pytest.raises(ValueError, match=r"Got eps_max .*, expected a finite number > 0"):
        warn_of_other_norm(eps_max, "linf", PAPER)


@pytest.mark.parametrize(
    ("eps_max", "norm", "warned"),
    [
        (0.3, "linf", False),
        (0.001, "linf", False),
        (0.67, "linf", False),
        (0.68, "linf", True),
        (1.5, "linf", True),
        (5.0, "linf", True),
        (1.5, "l2", False),
        (100.0, "l2", False),
        (0.68, "l2", False),
        (0.67, "l2", True),
        (0.3, "l2", True),
        (0.01, "l2", True),
    ],
)
def test_an_eps_max_beyond_the_geometric_mean_of_both_norms_is_warned_of(eps_max, norm, warned, caplog):
    """sqrt(0.3 * 1.5) = 0.6708 is as far from 0.3 as from 1.5."""
    with caplog.at_level(logging.WARNING):
        warn_of_other_norm(eps_max, norm, PAPER)
    own, other = PAPER[norm], next(value for name, value in PAPER.items() if name != norm)
    expected = (
        f"Got eps_max {eps_max:g} for norm {norm}, expected about {own:g}, the paper's: it is nearer to the paper's"
    )
    assert len(caplog.records) == warned
    assert not warned or caplog.text.count(f"{expected} {other:g} for norm ") == 1
