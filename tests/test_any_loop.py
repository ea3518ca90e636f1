"""``evaluate`` on what any training loop has: tuples or dictionaries, with or without ids, of every task."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from monai_ima.criteria import BinaryCriterion, ClassificationCriterion, DiceCriterion, criterion_of_shapes
from monai_ima.evaluation import evaluate

DRAWS = torch.Generator().manual_seed(2)
IMAGES = torch.rand(10, 1, 4, 4, generator=DRAWS)
CLASSES = torch.arange(10) % 3
MAPS = torch.randint(3, (10, 1, 4, 4), generator=DRAWS)
OVERLAPPING = torch.randint(2, (10, 3, 4, 4), generator=DRAWS).float()
OVERLAPPING[0, :2, 0, 0] = 1
MANY = torch.tensor([[1, 1, 0], [0, 1, 0]]).repeat(5, 1)


def classifier(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, outputs))


def segmenter(outputs: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv2d(1, outputs, 3, padding=1)


def loader(label: torch.Tensor, **settings) -> DataLoader:
    return DataLoader(TensorDataset(IMAGES, label), batch_size=4, **settings)


TASKS = {
    "classes": (classifier(), CLASSES, ClassificationCriterion()),
    "one-hot classes": (classifier(), nn.functional.one_hot(CLASSES), ClassificationCriterion()),
    "one logit": (classifier(1), CLASSES % 2, BinaryCriterion()),
    "several labels": (classifier(), MANY, BinaryCriterion()),
    "maps of classes": (segmenter(), MAPS, DiceCriterion("lowest")),
    "maps without a channel": (segmenter(), MAPS[:, 0], DiceCriterion("lowest")),
    "one map": (segmenter(1), (MAPS > 0).float(), DiceCriterion("lowest", include_background=True, sigmoid=True)),
    "overlapping maps": (segmenter(), OVERLAPPING, DiceCriterion("lowest", include_background=True, sigmoid=True)),
}


@pytest.mark.parametrize("task", TASKS)
def test_tuples_are_judged_by_their_shapes_as_dictionaries_by_a_named_criterion(task, tmp_path, caplog):
    network, label, criterion = TASKS[task]
    with caplog.at_level(logging.INFO, "monai_ima"):
        found = evaluate(network, loader(label), [0.1], "linf", "pgd3", cases=0, out=tmp_path / "shapes")
    assert "samples are numbered in the loader's order" in caplog.text
    assert "; criterion= says otherwise." in caplog.text
    given = [
        {"image": x, "label": y, "sample_id": [str(4 * k + row) for row in range(len(x))]}
        for k, (x, y) in enumerate(loader(label))
    ]
    other = evaluate(network, given, [0.1], "linf", "pgd3", cases=0, out=tmp_path / "named", criterion=criterion)
    assert found.attacks == other.attacks
    assert found.samples == other.samples
    assert len(found.samples) == 10


APART = [((4, 3), (4, 2)), ((4, 3), (3,)), ((4, 3, 8, 8), (4, 1, 6, 6)), ((4, 3, 8, 8), (4,)), ((4,), (4, 2))]


@pytest.mark.parametrize(("logits", "label"), APART)
def test_shapes_that_do_not_go_together_are_refused_with_both(logits, label):
    with pytest.raises(ValueError, match="expected labels") as refused:
        criterion_of_shapes(torch.zeros(logits), torch.zeros(label))
    assert str(logits) in str(refused.value)
    assert str(label) in str(refused.value)


def test_samples_without_ids_come_in_the_same_order_each_time_or_are_refused(tmp_path):
    with pytest.raises(ValueError, match="The loader shuffles samples that have no ids, expected shuffle=False"):
        evaluate(classifier(), loader(CLASSES, shuffle=True), [0.1], out=tmp_path / "a")

    class Turning(list):
        turns = 0

        def __iter__(self):
            self.turns += 1
            yield from self[:: 1 if self.turns % 2 else -1]

    with pytest.raises(ValueError, match="Batch 0 of the loader has other labels than when it was read before"):
        evaluate(classifier(), Turning(loader(CLASSES)), [0.1], attack="pgd2", out=tmp_path / "b")
    assert not (tmp_path / "a").exists()


def test_dictionaries_without_ids_are_numbered_and_own_ids_stay(tmp_path):
    plain = [{"image": x, "label": y} for x, y in loader(CLASSES)]
    own = [
        {**batch, "sample_id": [f"s{k}{row}" for row in range(len(batch["image"]))]} for k, batch in enumerate(plain)
    ]
    found = [
        evaluate(classifier(), b, [0.1], attack="pgd2", cases=0, out=tmp_path / str(k))
        for k, b in enumerate((plain, own))
    ]
    assert [sample.sample_id for sample in found[0].samples] == [str(k) for k in range(10)]
    assert [sample.sample_id for sample in found[1].samples] == [f"s{k // 4}{k % 4}" for k in range(10)]


def test_a_prepare_batch_of_ones_own_gets_the_loaders_batch(tmp_path):
    """A loop that keeps labels first and images twice as bright as the network wants."""
    turned = [(y, 2 * x) for x, y in loader(CLASSES)]
    prepare = lambda batch, device, *rest, **named: (batch[1] / 2, batch[0])  # noqa: E731
    found = evaluate(classifier(), turned, [0.1], attack="pgd2", cases=0, out=tmp_path / "a", prepare_batch=prepare)
    other = evaluate(classifier(), loader(CLASSES), [0.1], attack="pgd2", cases=0, out=tmp_path / "b")
    assert found.samples == other.samples


def test_results_are_shown_in_a_few_lines_and_as_a_tidy_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    for name, (network, label, _) in TASKS.items():
        results = evaluate(network, loader(label), [0.1, 0.5], "linf", "noise3+pgd3", cases=0, out=tmp_path / name)
        table = results.to_dataframe()
        assert isinstance(table, pandas.DataFrame)
        assert len(table) == 10 * 2 * 3, "samples x attacks x levels"
        means = table.groupby(["attack", "epsilon"]).score.mean()
        for attack in results.attacks:
            assert means[attack.name].tolist() == pytest.approx(attack.values)
        head, columns, *lines = repr(results).splitlines()
        assert str(results) == repr(results)
        assert f"{results.metric} of 10 samples" in head
        assert "noise3+pgd3" in head
        assert columns.split()[:2] == ["ε", results.metric]
        assert [float(line.split()[0]) for line in lines] == [0.0, 0.1, 0.5]
        assert [float(line.split()[1]) for line in lines] == pytest.approx(results.strongest.values, abs=6e-4)
