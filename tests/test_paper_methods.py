"""The methods of a paper: only what was run, in whole sentences, each method with its reference."""

from __future__ import annotations

import re
from itertools import product

import pytest
from conftest import REPO
from paper_results import other, perturbation, read, unattacked
from report_results import classification, segmentation

from monai_ima.paper import TRAININGS, methods
from monai_ima.paper.attack_prose import FAMILIES, attack
from monai_ima.paper.known import data_set
from monai_ima.paper.references import bibtex, cite, cited, in_markdown
from monai_ima.results.paired import differences_from_first
from monai_ima.results.parts import Data
from monai_ima.results.schema import Results

LIBRARY = (REPO / "monai_ima" / "paper" / "references.bib").read_text(encoding="utf-8")
PACKAGE = "\n".join(file.read_text(encoding="utf-8") for file in (REPO / "monai_ima" / "paper").glob("*.py"))
ONLY_WHEN_RUN = {
    "noise": "Uniform random noise",
    "minimum": "smallest perturbation",
    "groups": "scanner",
    "checks": "masking",
    "crosscheck": "ndependent code",
}
"""Fields of results that may be None, and what is said of them only where they are not."""


def written(*models: Results, **options) -> str:
    return in_markdown(methods(models, **options))


def bare(**changes) -> dict:
    """A classifier of which nothing was measured that need not be."""
    absent = dict.fromkeys((*ONLY_WHEN_RUN, "bounds", "units", "image_values"))
    content = classification(**absent, norm="linf", **changes)
    content["attacks"] = content["attacks"][:1]
    return content


def test_the_paragraph_of_a_small_evaluation_is_as_a_person_would_write_it(tmp_path):
    content = bare(levels=[0.0, 0.5], accuracy=[0.9, 0.8])
    content["attacks"] = [{"name": "pgd100", "values": [0.9, 0.8], "intervals": [None, None]}]
    content["accuracy_by_class"] = {name: [1.0, 1.0] for name in content["classes"]}
    for sample in content["samples"]:
        sample["broken_at"] = {"pgd100": 0.0 if sample["sample_id"] == "s0" else None}
    (model,) = read(tmp_path, content)
    expected = r"""
        The network oct\_classification\_ima (DenseNet121, 6,956,931 parameters) was evaluated. The network
        oct\_classification\_ima was trained with TRADES [@zhang2019]. The data were 10 synthetic samples from 5
        simulated patients, drawn by a program (OCT phantom). Accuracy is the share of samples whose class is
        predicted correctly. Inputs were perturbed within a ball of radius ε around the clean input in the L∞ norm, at
        ε = 0.5, in the units of the network’s input. The attack was projected gradient descent (PGD) [@madry2018]
        with 100 steps and 1 restart; a sample that was misclassified at an ε counts as wrong there and at every
        larger ε. No intervals are given, as there are fewer than 10 patients or samples. Computations used monai\_ima
        0.1.0 and PyTorch 2.13.0 [@paszke2019] on one machine (x86\_64 CPU, 2 cores). The random seed was 7.
    """
    assert written(model, trainings=["trades"]) == " ".join(expected.split())


@pytest.mark.parametrize("present", product([False, True], repeat=len(ONLY_WHEN_RUN)))
def test_what_was_not_run_is_not_mentioned(tmp_path, present):
    full = classification()
    content = bare() | {name: full[name] for name, there in zip(ONLY_WHEN_RUN, present, strict=True) if there}
    for sample in content["samples"]:
        sample["distance"] = sample["distance"] if content["minimum"] else None
    text = written(*read(tmp_path, content))
    for (name, words), there in zip(ONLY_WHEN_RUN.items(), present, strict=True):
        assert (words in text) == there, name
    for word in ("Auto-PGD", "TorchIO", "acquisition", "Holm", "trained", "expectation", "stayed", "nnU-Net"):
        assert word not in text.replace("[@croce2020", "")


def test_everything_is_said_of_an_evaluation_with_everything(tmp_path):
    plain = classification(perturbations=[perturbation(torchio=True)], norm="l2", bounds=[-0.5, 1.5])
    plain["settings"] |= {"eot": 16}
    hardened = other(perturbations=[])
    models = [one.named(name) for one, name in zip(read(tmp_path, plain, hardened), "AB", strict=True)]
    text = written(*models, differences=differences_from_first(models), trainings=["plain", "ima"])
    for words in (
        "The networks A (DenseNet121, 6,956,931 parameters) and B (DenseNet121, 6,956,931 parameters) were evaluated.",
        "The network A was trained without adversarial examples. The network B was trained with increasing-margin",
        "at ε = 0.5, 1 and 2, the largest of which is 1 HU a pixel, RMS; values stayed between -0.5 and 1.5.",
        "The attacks were projected gradient descent (PGD) [@madry2018] with 100 steps and 2 restarts and Auto-PGD "
        "[@croce2020] with 100 steps and 1 restart on difference of logits ratio, one after the other;",
        "by DDN [@rony2019] with 100 steps, and then by PGD",
        "Uniform random noise was drawn 20 times",
        "For A, logits were averaged over 16 passes (expectation over transformation) [@athalye2018eot].",
        "For A, changes as they arise in acquisition were measured too: bias field (10 and 20 %).",
        "random transforms of TorchIO [@perezgarcia2021]",
        "Scores were also taken by scanner: A (4 samples) and B (6 samples).",
        "Gradient masking was looked for with 2 checks [@athalye2018; @carlini2019], all of which passed.",
        "8 samples at ε = 1 too, ART 1.20 AutoAttack [@croce2020; @nicolae2018]",
        "torchattacks 3.5 PGD found a score lower by more than one point than ours.",
        "Intervals at 95 % are percentile bootstrap intervals",
        "On the same samples, B was compared with A at each ε that they share.",
    ):
        assert words in text, words
    assert "For B, changes" not in text
    keys = cited(methods(models, differences_from_first(models), ["plain", "ima"]))
    assert {"ma2020", "madry2018", "croce2020", "rony2019", "perezgarcia2021", "paszke2019"} <= set(keys)
    assert not {"zhang2019", "uesato2018", "isensee2021", "antonelli2022", "holm1979", "mcnemar1947"} & set(keys)


@pytest.mark.parametrize("perturbed", [False, True])
def test_where_nothing_was_attacked_it_is_said_and_nothing_of_budgets(tmp_path, perturbed):
    (model,) = read(tmp_path, unattacked(perturbations=[perturbation()] if perturbed else []))
    text = written(model)
    if perturbed:
        assert "No attack added noise. Changes as they arise in acquisition were measured too: bias field" in text
    else:
        assert "Nothing was attacked: scores are those of the samples as they are." in text
        assert text.count("attack") == 1
    assert "ball" not in text
    assert "norm" not in text


def test_only_what_is_segmented_is_called_an_image_or_a_scan(tmp_path):
    signals = classification(bounds=[-1.0, 1.0], perturbations=[perturbation("baseline_wander", "baseline wander")])
    signals["groups"]["column"] = "site"
    scans = segmentation(bounds=[-1.0, 1.0], perturbations=[perturbation()])
    signal, scan = (written(one) for one in read(tmp_path, signals, scans))
    assert not re.search("image|scan|intensit", signal, re.IGNORECASE)
    assert "Inputs were perturbed within a ball of radius ε around the clean input" in signal
    assert "Images were perturbed within a ball of radius ε around the clean image" in scan
    assert "intensities stayed between -1 and 1" in scan
    assert "Changes as scanners make them were measured too" in scan


def test_validation_data_are_not_passed_off_as_others(tmp_path):
    validated = segmentation()
    validated["data"] |= {"validation": True}
    first, second = (written(one) for one in read(tmp_path, segmentation(), validated))
    assert "validates on" not in first
    assert ", those that the training validates on. " in second
    assert "test data" not in first + second


def every_paragraph(folder) -> list[str]:
    """Of evaluations of all kinds."""
    contents = [
        classification(),
        bare(),
        segmentation(),
        unattacked(),
        other(perturbations=[perturbation(torchio=True)]),
    ]
    one_of_each = classification()
    one_of_each["data"] |= {"patients": None}
    for sample in one_of_each["samples"]:
        sample["patient"] = None
    one_of_each["noise"]["draws"] = 1
    one_of_each["checks"] = one_of_each["checks"][:1]
    one_of_each["crosscheck"]["samples"] = 1
    models = read(folder, *contents, one_of_each)
    pair = [models[0].named("A"), models[4].named("B")]
    return [methods([one]) for one in models] + [methods(pair, differences_from_first(pair))]


def test_the_english_is_correct(tmp_path):
    for text in every_paragraph(tmp_path):
        plain = re.sub(r" \[@[^]]+\]", "", in_markdown(text))
        assert "  " not in plain
        assert not re.search(r" [,.;:)]|\( |,,|\.\.|;\.|,\.|:\.", plain)
        assert not re.search(r"\b1 (restarts|steps|samples|draws|patients|times|checks|parameters)\b", plain)
        assert not re.search(r"\b(None|nan|inf|True|False)\b|e[+-]\d\d", plain)
        assert plain.endswith(".")
        for sentence in re.split(r"(?<=[a-z0-9)])\. (?=\D)", plain):
            assert sentence[0].isupper(), sentence
        assert plain.count("(") == plain.count(")")


def test_a_folder_of_msd_and_nnunet_have_their_references(tmp_path):
    content = segmentation()
    content["data"]["name"] = "data in /home/me/Task04_Hippocampus"
    content["command"] = "python -m monai_ima nnunet evaluate -d 4"
    text = written(*read(tmp_path, content))
    assert "2 samples of Task04\\_Hippocampus of the Medical Segmentation Decathlon [@antonelli2022]." in text
    assert "nnU-Net [@isensee2021]" in text
    assert "/home/me" not in text


@pytest.mark.parametrize(
    ("name", "classes", "words", "keys"),
    [
        ("Fashion-MNIST, Xiao, Rasul & Vollgraf 2017", 10, "Fashion-MNIST", ["xiao2017"]),
        ("CIFAR-10 and CIFAR-100, Krizhevsky 2009", 100, "CIFAR-100", ["krizhevsky2009"]),
        ("SVHN, Netzer et al. 2011", 10, "SVHN", ["netzer2011"]),
        ("Kermany et al. 2018, doi 10.17632/rscbjbr9sj", 4, "the retinal OCT scans of Kermany et al.", ["kermany2018"]),
        (
            "MIT-BIH Arrhythmia Database 1.0.0, PhysioNet, as beats in the layout of Kachuee et al. 2018",
            5,
            "the MIT-BIH Arrhythmia Database",
            ["moody2001", "goldberger2000", "kachuee2018"],
        ),
        (
            "Medical Segmentation Decathlon Task02_Heart",
            1,
            "Task02_Heart of the Medical Segmentation Decathlon",
            ["antonelli2022"],
        ),
        ("data in /x/svhn/mine", 2, "the data in the folder mine", []),
        ("chest films of our own", 2, "chest films of our own", []),
        ("data set of the bundle", 2, "the data set of the bundle", []),
        ("the data set of the bundle", 2, "the data set of the bundle", []),
        ("data that were passed in Python", 2, "data that were passed in Python", []),
        ("Scans of your own", 2, "data of our own", []),
        ("Pictures of the user's own; none are shipped", 2, "data of our own", []),
    ],
)
def test_data_sets_of_the_bundles_are_known(name, classes, words, keys):
    found = data_set(Data(name=name, licence=None, synthetic=False, samples=1, patients=None), classes)
    assert re.sub(r" ?\ue000.*", "", found) == words
    assert cited(found) == keys


def test_a_phantom_is_cited_as_no_data_set():
    found = data_set(Data(name="Fashion-MNIST phantom", licence=None, synthetic=True, samples=1, patients=None), 10)
    assert found == "Fashion-MNIST phantom"


def test_every_training_and_every_attack_has_a_reference_but_plain_training_and_noise():
    assert [name for name, (_, keys) in TRAININGS.items() if not keys] == ["plain"]
    assert [name for name, (_, key) in FAMILIES.items() if key is None] == ["noise"]
    names = ("pgd2", "apgd2", "ifgsm2", "fgsm", "ddn2", "spsa2x3")
    assert all(cited(attack(name, False)) for name in names)
    assert attack("spsa2x1", False).endswith("with 2 steps and 1 direction a step")
    assert attack("my own", False) == "my own"


class TestReferences:
    def test_every_entry_is_used_and_every_key_that_is_cited_is_there(self):
        keys = re.findall(r"^@\w+\{(\w+),$", LIBRARY, re.MULTILINE)
        assert keys == sorted(set(keys))
        assert {key for key in keys if f'"{key}"' not in PACKAGE and f"'{key}'" not in PACKAGE} == set()
        assert bibtex(keys) == LIBRARY, "each entry is found whole"
        with pytest.raises(ValueError, match="Got the reference 'nobody1999', expected one of antonelli2022,"):
            cite("nobody1999")

    def test_entries_are_complete(self):
        needed = {
            "article": {"author", "title", "journal", "year"},
            "inproceedings": {"author", "title", "booktitle", "year"},
            "techreport": {"author", "title", "institution", "year"},
        }
        for kind, key, body in re.findall(r"^@(\w+)\{(\w+),\n(.*?)^\}", LIBRARY, re.MULTILINE | re.DOTALL):
            fields = dict(re.findall(r"^  (\w+) += \{(.*)\},?$", body, re.MULTILINE))
            assert needed[kind] <= set(fields), key
            assert fields["year"] == re.sub(r"\D", "", key), key
            assert body.count("{") == body.count("}"), key
            first = re.sub(r"\W|[\\'^]", "", fields["author"].split(",")[0].lower())
            assert key.startswith(re.sub(r"[^a-z]", "", first)) or key == "perezgarcia2021", key
