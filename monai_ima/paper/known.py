"""Training methods and data sets that have a reference."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath

from monai_ima.results.parts import Data
from monai_ima.utils.checks import shown

from .references import cite

__all__ = ["TRAININGS", "data_set", "training"]

TRAININGS = {
    "plain": ("without adversarial examples", ()),
    "ima": ("with increasing-margin adversarial training (IMA)", ("ma2020",)),
    "pgd": ("adversarially with PGD at one fixed ε", ("madry2018",)),
    "trades": ("with TRADES", ("zhang2019",)),
    "ddn": ("adversarially with DDN", ("rony2019",)),
    "iaat": ("with instance-adaptive adversarial training (IAAT)", ("balaji2019",)),
    "mma": ("with max-margin adversarial (MMA) training", ("ding2020",)),
}
"""How a network was trained: in words, and the references."""

MSD = re.compile(r"Task\d\d_\w+")
DATA_SETS: Sequence[tuple[str, str, tuple[str, ...]]] = (
    (r"kermany", "the retinal OCT scans of Kermany et al.", ("kermany2018",)),
    (r"mit-?bih", "the MIT-BIH Arrhythmia Database", ("moody2001", "goldberger2000")),
    (r"fashion[-_ ]?mnist", "Fashion-MNIST", ("xiao2017",)),
    (r"svhn", "SVHN", ("netzer2011",)),
    (r"cifar", "CIFAR", ("krizhevsky2009",)),
    (r"medical segmentation decathlon|\bmsd\b|task\d\d_", "the Medical Segmentation Decathlon", ("antonelli2022",)),
)
"""A pattern of the data's name in lower case, what they are called, and the references."""
UNNAMED = {
    "data set of the bundle": "the data set of the bundle",
    "Scans of your own": "data of our own",
    "Pictures of the user's own; none are shipped": "data of our own",
}
"""Names that read badly in a sentence, of older results and of bundles for one's own data, and what is said instead."""
OWN = "data in "
"""What the name of a user's own folder begins with."""


def training(name: str) -> str:
    """How a network was trained, in words that follow "was trained", with citations.

    Raises:
        ValueError: if the method is not one of :data:`TRAININGS`.

    Example:
        >>> training("plain")
        'without adversarial examples'
    """
    if name.lower() not in TRAININGS:
        raise ValueError(f"Got the training {shown(name)}, expected one of {', '.join(TRAININGS)}.")
    words, keys = TRAININGS[name.lower()]
    return words + (cite(*keys) if keys else "")


def data_set(data: Data, classes: int) -> str:
    """The data in words, with citations where the data set is known by its name or that of its folder.

    Args:
        data: of the results.
        classes: how many there are; CIFAR-10 and CIFAR-100 differ by nothing else.

    Example:
        >>> data_set(Data(name="data in /home/me/scans", licence=None, synthetic=False, samples=2, patients=None), 2)
        'the data in the folder scans'
    """
    own = data.name.startswith(OWN)
    name = PurePath(data.name.removeprefix(OWN)).name if own else data.name
    if data.synthetic:
        return name
    for pattern, words, keys in DATA_SETS:
        if re.search(pattern, name.lower()):
            return _called(name, words, classes) + cite(*keys, *_layout(name))
    return f"the data in the folder {name}" if own else UNNAMED.get(name, name)


def _called(name: str, words: str, classes: int) -> str:
    task = MSD.search(name)
    if task is not None:
        return f"{task[0]} of {words}"
    return f"{words}-{classes}" if words == "CIFAR" and classes in (10, 100) else words


def _layout(name: str) -> tuple[str, ...]:
    return ("kachuee2018",) if "kachuee" in name.lower() else ()
