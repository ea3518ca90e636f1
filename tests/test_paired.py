"""Paired differences against scipy, statsmodels and figures derived by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from report_results import LEVELS, classification, segmentation, write
from scipy import stats

from monai_ima.results import PairedDifference, differences_from_first, paired_differences
from monai_ima.results.paired import holm
from monai_ima.results.schema import ClassificationResults, Results, SegmentationResults

ATTACK = "apgd100-dlr"
NO_PATIENTS = {"patients": None, "sha256": None}


def classifier(
    broken: Sequence[float | None], patients: Sequence[str] | None = None, **changes: Any
) -> ClassificationResults:
    """Results of a classifier whose samples are broken at these ε; only what a comparison reads is consistent."""
    samples = [
        {
            "sample_id": f"s{k}",
            "label": 0,
            "predicted": 0,
            "broken_at": {"pgd100x2": None, ATTACK: eps},
            "noisy_predicted": 1,
            "patient": patients[k] if patients else None,
        }
        for k, eps in enumerate(broken)
    ]
    content = classification(minimum=None, samples=samples, **changes)
    count = None if patients is None else len(set(patients))
    content["data"] = {**content["data"], "samples": len(samples), "patients": count}
    return ClassificationResults.model_validate_json(json.dumps(content))


def segmenter(dice: np.ndarray, patients: Sequence[str] | None = None, **changes: Any) -> Results:
    """Results of a segmentation with this mean Dice ``[N, L]``."""
    content = segmentation(**changes)
    (one, _) = content["samples"]
    content["levels"] = [float(k) for k in range(dice.shape[1])]
    content["samples"] = [
        {
            **one,
            "sample_id": f"scan{k}",
            "after": {"pgd100x2": row.tolist()},
            "patient": patients[k] if patients else None,
        }
        for k, row in enumerate(dice)
    ]
    content["data"] = {**content["data"], "samples": len(dice)}
    curve = [0.5] * dice.shape[1]
    for name in ("dice", "surface_dice", "hd95"):
        content[name] = curve
        content[f"{name}_by_class"] = {"anterior": curve, "posterior": curve}
    content["hd95_undefined"] = [0] * dice.shape[1]
    content["attacks"] = [{"name": "pgd100x2", "values": curve, "intervals": [None] * dice.shape[1]}]
    return SegmentationResults.model_validate_json(json.dumps(content))


def broken_at(rng: np.random.Generator, weights: Sequence[float], count: int) -> list[float | None]:
    """Random first ε that break a sample: one of ``LEVELS``, or none."""
    choices = [*LEVELS, None]
    return [choices[k] for k in rng.choice(len(choices), count, p=np.array(weights) / sum(weights))]


@pytest.fixture
def pair() -> tuple[list[float | None], list[float | None]]:
    """When each of 60 samples is broken, for two networks."""
    rng = np.random.default_rng(5)
    return broken_at(rng, [1, 4, 3, 1, 1], 60), broken_at(rng, [1, 1, 2, 3, 3], 60)


def correct(broken: Sequence[float | None], eps: float) -> np.ndarray:
    """Which samples are right under attack at an ε: those that need more to be broken."""
    return np.array([value is None or value > eps for value in broken])


def test_mcnemar_is_the_binomial_test_of_the_discordant_samples(pair):
    found = paired_differences(*map(classifier, pair))
    assert [one.level for one in found] == LEVELS
    assert any(0.001 < one.p_value < 0.999 for one in found)
    for one in found:
        first, second = (correct(broken, one.level) for broken in pair)
        gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
        # two-sided exact by the sum of Bin(gained + lost, 1/2) over all outcomes at most as likely
        chances = stats.binom.pmf(range(gained + lost + 1), gained + lost, 0.5)
        assert one.p_value == pytest.approx(min(1, chances[chances <= chances[gained] * (1 + 1e-9)].sum()))
        assert one.test == "exact McNemar"
        assert (one.samples, one.groups) == (60, 60)
        assert one.first == pytest.approx(first.mean())
        assert one.second == pytest.approx(second.mean())
        assert one.difference == pytest.approx((gained - lost) / 60)


def test_mcnemar_and_holm_are_those_of_statsmodels(pair):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables", reason="pip install statsmodels")
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    found = paired_differences(*map(classifier, pair))
    for one in found:
        first, second = (correct(broken, one.level) for broken in pair)
        table = [[(a & b).sum() for b in (second, ~second)] for a in (first, ~first)]
        assert one.p_value == pytest.approx(tables.mcnemar(table, exact=True).pvalue)
    adjusted = multitest.multipletests([one.p_value for one in found], method="holm")[1]
    assert [one.p_adjusted for one in found] == pytest.approx(adjusted.tolist())
    many = np.random.default_rng(0).random(25) ** 3
    assert holm(many.tolist()) == pytest.approx(multitest.multipletests(many, method="holm")[1].tolist())


def test_holm_by_hand():
    assert holm([0.04, 0.01, None, 0.03, 0.9]) == pytest.approx([0.09, 0.04, None, 0.09, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def scipys(first: np.ndarray, second: np.ndarray, seed: int) -> Any:
    """The paired bootstrap of scipy, of the difference of means."""
    return stats.bootstrap(
        (first, second),
        lambda x, y, axis: y.mean(axis=axis) - x.mean(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20000,
        method="percentile",
        random_state=np.random.default_rng(seed),
    )


def by_scipy(first: np.ndarray, second: np.ndarray, seed: int = 1) -> tuple[float, float, float]:
    """The ends of the interval and the p-value that scipy's paired bootstrap gives."""
    found = scipys(first, second, seed)
    draws = found.bootstrap_distribution
    p = 2 * min((draws <= 1e-12).mean(), (draws >= -1e-12).mean())
    return found.confidence_interval.low, found.confidence_interval.high, min(p, 1.0)


def test_intervals_are_those_of_scipys_paired_bootstrap(pair):
    for one in paired_differences(*map(classifier, pair)):
        low, high, _ = by_scipy(*(correct(broken, one.level).astype(float) for broken in pair))
        assert (one.low, one.high) == pytest.approx((low, high), abs=0.017), "one sample of 60 is 0.0167"


def test_dice_gets_scipys_paired_bootstrap_which_is_near_the_paired_t_test():
    rng = np.random.default_rng(2)
    first = rng.uniform(0.5, 0.8, (40, 3))
    second = np.clip(first + rng.normal([0.0, 0.008, 0.03], 0.04, (40, 3)), 0, 1)
    found = paired_differences(segmenter(first), segmenter(second))
    assert {one.test for one in found} == {"paired bootstrap"}
    for k, one in enumerate(found):
        low, high, p = by_scipy(first[:, k], second[:, k])
        assert (one.low, one.high) == pytest.approx((low, high), abs=0.001)
        assert one.p_value == pytest.approx(p, abs=0.04)
        assert one.p_value == pytest.approx(stats.ttest_rel(second[:, k], first[:, k]).pvalue, abs=0.05)
        width = stats.ttest_rel(second[:, k], first[:, k]).confidence_interval(0.95)
        assert one.high - one.low == pytest.approx(width.high - width.low, rel=0.1)
        alone = stats.ttest_ind(second[:, k], first[:, k]).confidence_interval(0.95)
        assert one.high - one.low < (alone.high - alone.low) / 1.5, "pairs share what makes a scan hard"


def test_whole_patients_are_drawn():
    rng = np.random.default_rng(8)
    first, second = rng.uniform(0.3, 0.6, (20, 1)), rng.uniform(0.35, 0.65, (20, 1))
    patients = [f"p{k // 6}" for k in range(120)]
    tables = [np.repeat(table, 6, axis=0) for table in (first, second)]
    (one,) = paired_differences(*(segmenter(table, patients) for table in tables))
    assert (one.samples, one.groups) == (120, 20)
    low, high, p = by_scipy(first[:, 0], second[:, 0])
    assert (one.low, one.high) == pytest.approx((low, high), abs=0.004)
    assert one.p_value == pytest.approx(p, abs=0.04)
    (other,) = paired_differences(*map(segmenter, tables))
    assert other.groups == 120
    assert other.high - other.low < (one.high - one.low) / 2
    (half,) = paired_differences(segmenter(tables[0], patients), segmenter(tables[1]))
    assert half == one, "one of the results need only know the patients"


def test_scores_of_0_and_1_of_patients_with_several_samples_are_bootstrapped(pair):
    patients = [f"p{k // 2}" for k in range(60)]
    found = paired_differences(*(classifier(broken, patients) for broken in pair))
    assert {one.test for one in found} == {"paired bootstrap"}
    assert {one.groups for one in found} == {30}
    for one in found:
        means = [correct(broken, one.level).reshape(30, 2).mean(axis=1) for broken in pair]
        low, high, p = by_scipy(*means)
        assert (one.low, one.high) == pytest.approx((low, high), abs=0.017)
        assert one.p_value == pytest.approx(p, abs=0.04)
    own = [str(k) for k in range(60)]
    assert {one.test for one in paired_differences(*(classifier(b, own) for b in pair))} == {"exact McNemar"}


def test_equal_models_have_an_interval_of_wilsons_width():
    """No discordant sample of 24: Wilson's interval of 0 of 24 ends at z² / (24 + z²)."""
    z = stats.norm.ppf(0.975) ** 2
    for one in paired_differences(classifier([1.0] * 24), classifier([1.0] * 24)):
        assert (one.low, one.difference, one.high) == pytest.approx((-z / (24 + z), 0, z / (24 + z)))
        assert (one.p_value, one.p_adjusted) == (1.0, 1.0)
    worse = paired_differences(classifier([None] * 24), classifier([0.0] * 24))[0]
    assert (worse.low, worse.difference, worse.high) == pytest.approx((-1, -1, -24 / (24 + z)))
    better = paired_differences(classifier([0.0] * 24), classifier([None] * 24))[0]
    assert (better.low, better.difference, better.high) == pytest.approx((24 / (24 + z), 1, 1))
    assert better.p_value == pytest.approx(2 * 0.5**24)


def test_dice_that_differs_nowhere_differs_by_0_to_0():
    dice = np.random.default_rng(2).random((30, 2))
    for one in paired_differences(segmenter(dice), segmenter(dice)):
        assert (one.low, one.difference, one.high, one.p_value) == (0, 0, 0, 1)


def test_below_ten_patients_there_is_no_interval():
    patients = [f"p{k // 4}" for k in range(36)]
    rng = np.random.default_rng(1)
    tables = [rng.random((36, 2)) for _ in range(2)]
    for one in paired_differences(*(segmenter(table, patients) for table in tables)):
        assert (one.groups, one.low, one.high, one.p_value, one.p_adjusted) == (9, None, None, None, None)
    nine = paired_differences(classifier([0.0] * 9), classifier([None] * 9))[0]
    assert (nine.low, nine.high) == (None, None)
    assert nine.p_value == pytest.approx(2 * 0.5**9), "McNemar's is exact however few they are"


def test_all_others_are_compared_with_the_first_and_adjusted_together(pair):
    models = [classifier(broken) for broken in (*pair, broken_at(np.random.default_rng(6), [1, 3, 3, 2, 1], 60))]
    found = differences_from_first(models)
    assert [len(one) for one in found] == [4, 4]
    flat = [one for differences in found for one in differences]
    assert [one.p_adjusted for one in flat] == holm([one.p_value for one in flat])
    alone = paired_differences(models[0], models[1])
    assert [one.p_value for one in found[0]] == [one.p_value for one in alone]
    assert any(one.p_adjusted > two.p_adjusted for one, two in zip(found[0], alone, strict=True))


def test_samples_are_matched_by_id_not_by_order(pair):
    first, second = map(classifier, pair)
    shuffled = second.model_copy(update={"samples": second.samples[::-1]})
    expected = [one.difference for one in paired_differences(first, second)]
    assert [one.difference for one in paired_differences(first, shuffled)] == expected


def test_the_same_seed_gives_the_same_figures(pair):
    assert paired_differences(*map(classifier, pair)) == paired_differences(*map(classifier, pair))


def test_an_attack_can_be_chosen(pair):
    first, second = map(classifier, pair)
    assert all(one.difference == 0 for one in paired_differences(first, second, "pgd100x2")), "it breaks nothing"
    assert paired_differences(first, second, attack=ATTACK) == paired_differences(first, second)


def test_only_shared_levels_count_and_only_the_clean_one_where_units_differ(pair):
    first, second = map(classifier, pair)
    fewer = second.model_copy(update={"levels": [0.0, 1.0, 4.0]})
    assert [one.level for one in paired_differences(first, fewer)] == [0.0, 1.0]
    other = classifier(pair[1], units={"name": "HU", "per_unit": 10.0})
    assert [one.level for one in paired_differences(first, other)] == [0.0]


def different(pair: tuple[Sequence[float | None], ...], kind: str) -> tuple[Results, Results]:
    """Two results that cannot be compared."""
    first, second = map(classifier, pair)
    if kind == "labels":
        records = [second.samples[0].model_copy(update={"label": 2}), *second.samples[1:]]
        return first, second.model_copy(update={"samples": records})
    if kind == "patients":
        ours = [str(k) for k in range(60)]
        return classifier(pair[0], ours), classifier(pair[1], [*ours[:-1], "0"])
    if kind == "twice":
        return first, second.model_copy(update={"samples": [*second.samples[:-1], second.samples[0]]})
    changed = {
        "norm": {"norm": "linf"},
        "samples": {"samples": second.samples[:-2]},
        "digest": {"data": second.data.model_copy(update={"sha256": "f" * 64})},
        "attacks": {"attacks": second.attacks[1:]},
        "levels": {"levels": [0.1, 0.2, 0.3, 0.4]},
    }[kind]
    return first, second.model_copy(update=changed)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("norm", r"^oct_classification_ima has norm l2 and oct_classification_ima linf, expected the same\.$"),
        (
            "samples",
            r"^Sample 's58' is in oct_classification_ima alone, expected the same samples in both results \(2 in all",
        ),
        ("labels", r"^Sample 's0' has label 0 in oct\w+ and 2 in oct\w+, expected the same\.$"),
        ("patients", r"^Sample 's59' is of patient 59 in oct\w+ and 0 in oct\w+, expected the same\.$"),
        ("twice", r"^oct\w+ has 60 samples with 59 ids, expected each id once\.$"),
        ("digest", r"have the same sample ids and different data\.sha256, expected images of the same sizes"),
        ("attacks", r"has the attacks pgd100x2\+apgd100-dlr and oct\w+ apgd100-dlr, expected the same\.$"),
        ("levels", r"have no level in common, expected at least one that both were measured at, in units"),
    ],
)
def test_results_that_are_no_pairs_are_refused_in_a_sentence(pair, kind, message):
    with pytest.raises(ValueError, match=message) as error:
        paired_differences(*different(pair, kind))
    assert "\n" not in str(error.value)


def test_wrong_arguments_are_refused(pair, tmp_path):
    first, second = map(classifier, pair)
    with pytest.raises(ValueError, match=r"has no attack 'ddn', expected one of pgd100x2, apgd100-dlr\."):
        paired_differences(first, second, attack="ddn")
    with pytest.raises(ValueError, match=r"^Got 1 results to compare, expected at least two\.$"):
        differences_from_first([first])
    with pytest.raises(TypeError, match=r"^Got results 'a', expected what Results\.read returns\.$"):
        paired_differences("a", first)
    other = segmenter(np.full((60, 4), 0.5))
    with pytest.raises(ValueError, match="has metric accuracy and hippocampus_ima dice, expected the same"):
        paired_differences(first, other)
    read = Results.read(write(tmp_path / "a", classification()))
    with pytest.raises(ValueError, match=r"^Sample 's10' is in oct\w+ alone, .* \(50 in all are in one"):
        paired_differences(read, first.model_copy(update={"data": read.data}))


def test_a_difference_is_a_part_that_json_can_hold():
    one = PairedDifference(
        level=0.0,
        first=0.5,
        second=0.5,
        difference=0.0,
        low=None,
        high=None,
        p_value=None,
        p_adjusted=None,
        test="paired bootstrap",
        samples=9,
        groups=9,
    )
    assert PairedDifference.model_validate_json(one.model_dump_json()) == one
