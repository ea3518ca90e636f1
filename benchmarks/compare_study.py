"""What a study of ``compare.py`` trains and attacks: the settings of every method, derived from the paper's ε_n.

``compare.json`` holds for each data set the bundle, the images and epochs, and for each norm ε_n and the levels of the
test attacks; ε in it are multiples of ``1/per`` where a norm has ``per``. Everything else follows by :data:`RULE`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from studies import REPO, read_json

CONFIG = Path(__file__).with_name("compare.json")

RULE = (
    "Nothing is chosen. One rule, fixed before any result was seen, gives every setting. With ε_n the paper's value "
    "for data set and norm, training at a fixed ε takes ε_n/10, ε_n/5 and 2ε_n/5 (SVHN in L∞: the paper's 2/255, 6/255 "
    "and 10/255); TRADES takes ε_n/5 with its paper's β of 6; IAAT goes up to ε_n after a warm-up at ε_n/5; DDN, MMA "
    "and IMA go up to ε_n. The training attacks of all methods have 20 steps; IMA's margin pass has 50 and 10 "
    "bisections, as in the paper. Whatever else a method has is its handler's default."
)

WHITE_BOX = ("pgd100x2", "apgd100-ce", "apgd100-dlr")
DDN_STEPS = 100
NOISE = "noise100"
BLACK_BOX_SAMPLES = 100

STEPS, MARGIN_STEPS, BINARY_STEPS = 20, 50, 10
FIXED = (1 / 10, 1 / 5, 2 / 5)
WITH_MARGINS = ("IAATHandler", "MMAHandler", "IMAHandler")


@dataclass(frozen=True)
class Method:
    """One training of a study.

    Attributes:
        title: of its rows in tables.
        label: of its line in the figure.
        handler: config of its handler; None for plain training.
    """

    title: str
    label: str
    handler: dict[str, Any] | None = None

    @property
    def has_margins(self) -> bool:
        """It keeps a radius for every training sample."""
        return self.handler is not None and self.handler["_target_"].endswith(WITH_MARGINS)


def known_studies() -> dict[str, Any]:
    """The content of ``compare.json``."""
    return read_json(CONFIG)


@dataclass(frozen=True)
class Study:
    """One data set and norm; the same for every process.

    Attributes:
        name: of the data set in ``compare.json``.
        norm: ``"l2"`` or ``"linf"``.
        data: folder of the data; None: they are not read, or ``synthetic``.
        synthetic: the bundle's SYNTHETIC phantom stands for the data.
        seed: of start, subset, batch order and attacks.
        epochs: None means those of ``compare.json``, else of the bundle.
        subset: number of training images; None means that of ``compare.json``, all of a phantom.
        test_subset: number of test images; None likewise.
        batch_size: None means that of ``compare.json``, else of the bundle.
        full: all images with the bundle's epochs and batches; of ``compare.json`` only its ``full`` counts.
        runs: folder for weights and what is interrupted.
        records: folder for records of finished trainings.
    """

    name: str
    norm: str
    data: str | None = None
    synthetic: bool = False
    seed: int = 0
    epochs: int | None = None
    subset: int | None = None
    test_subset: int | None = None
    batch_size: int | None = None
    full: bool = False
    runs: str = "runs/compare"
    records: str = "docs/results/records"

    def check(self) -> None:
        """Refuse a study that ``compare.json`` does not have.

        Raises:
            ValueError: if data set or norm are not in it, or a subset is set where the bundle has none.
        """
        known = known_studies()
        if self.name not in known:
            raise ValueError(f"Got bundle {self.name!r}, expected one of {', '.join(known)}.")
        if self.norm not in self.config["norms"]:
            raise ValueError(f"Got norm {self.norm!r}, expected one of {', '.join(self.config['norms'])}.")
        for option, place in (("subset", self.config["training"]), ("test_subset", self.config)):
            if getattr(self, option) is not None and option not in place:
                raise ValueError(f"Got {option} for {self.name}, expected it only where compare.json has one.")

    @classmethod
    def of_options(cls, options: argparse.Namespace, **changes: Any) -> Study:
        """The study of a command line, whose ``--data``, ``--out`` and ``--records`` are paths."""
        return cls(
            options.bundle,
            options.norm,
            None if options.data is None else str(options.data.resolve()),
            options.data is None,
            subset=options.subset,
            test_subset=options.test_subset,
            runs=str(options.out.resolve()),
            records=str(options.records.resolve()),
            **changes,
        )

    @property
    def config(self) -> dict[str, Any]:
        """What ``compare.json`` says of the data set."""
        return known_studies()[self.name]

    @property
    def bundle(self) -> Path:
        """The bundle's folder."""
        return REPO / "bundles" / self.config["bundle"]

    @cached_property
    def bundle_config(self) -> dict[str, Any]:
        """The bundle's ``train.json``."""
        return read_json(self.bundle / "configs" / "train.json")

    @property
    def key(self) -> str:
        """Name of the study's folders and pages, ``fashion_mnist_l2``; of another seed than 0 ``…_seed1``."""
        return f"{self.name}_{self.norm}" + (f"_seed{self.seed}" if self.seed else "")

    @property
    def eps_n(self) -> float:
        """The paper's ε_n."""
        return self.config["norms"][self.norm]["eps_n"]

    @property
    def eps_source(self) -> str:
        """Where ε_n is from, if it is not from section 3."""
        source = self.config["norms"][self.norm].get("eps_source")
        return f" ({source})" if source else ""

    @property
    def levels(self) -> list[float]:
        """ε of the test attacks, rising."""
        return [level / self._per for level in self.config["norms"][self.norm]["levels"]]

    @property
    def fixed_eps(self) -> list[float]:
        """ε of the three trainings at a fixed ε."""
        fixed = self.config["norms"][self.norm].get("fixed")
        if fixed is not None:
            return [eps / self._per for eps in fixed]
        return [_rounded(self.eps_n * part) for part in FIXED]

    @property
    def black_box(self) -> str:
        """Name of the attack that sees no gradients."""
        return self.config["black_box"]

    @property
    def strongest(self) -> list[str]:
        """Names of the attacks that a sample has to be robust to; ``"ddn"`` among them in L2."""
        return [*WHITE_BOX, *(["ddn"] if self.norm == "l2" else [])]

    @property
    def attacks(self) -> list[str]:
        """Names of all attacks on the test samples; with ``full`` those that see gradients."""
        return [*WHITE_BOX] if self.full else [*self.strongest, NOISE, self.black_box]

    @property
    def training(self) -> dict[str, Any]:
        """Config ids of the bundle that say how long and on what it is trained."""
        ids = {name: self.bundle_config[name] for name in ("epochs", "batch_size", "learning_rate")}
        ids |= self.config.get("full", {}) if self.full else self.config["training"]
        if self.synthetic:
            ids.pop("subset", None)
        given = {"epochs": self.epochs, "subset": self.subset, "batch_size": self.batch_size}
        return ids | {name: value for name, value in given.items() if value is not None}

    @property
    def test_images(self) -> int | None:
        """Number of test images; None for all."""
        if self.test_subset is not None or self.synthetic or self.full:
            return self.test_subset
        return self.config.get("test_subset")

    @property
    def data_settings(self) -> dict[str, Any]:
        """Config ids that training and evaluation share: of the data and their split."""
        shared = {"dataset_dir": self.data, "seed": self.seed}
        shared |= {name: self.training[name] for name in self.training if name.startswith(("val_", "subset", "per_"))}
        if "phantom_dir" in self.bundle_config:
            shared["phantom_dir"] = str(Path(self.runs) / f"synthetic_{self.name}")
        return shared

    @cached_property
    def methods(self) -> dict[str, Method]:
        """Every training by the name of its record, in the order of the pages."""
        eps_n, low = self.eps_n, _rounded(self.eps_n / 5)
        ima = {"eps_max": eps_n, "beta": self.bundle_config["beta"], "margin_steps": MARGIN_STEPS}
        ima |= {"binary_steps": BINARY_STEPS, "update": "epoch", "noisy_samples": "all", "start": "clean"}
        ima["update_interval"] = self.bundle_config["update_interval"]
        methods = {"ce": Method("plain training (ce)", "ce")}
        for eps in self.fixed_eps:
            adv = f"adv {eps * self._per:g}"
            name = f"pgd_{self.eps_text(eps).replace('/', '_')}"
            handler = self._handler("PGDTrainingHandler", eps=eps, beta=0.5)
            methods[name] = Method(f"fixed ε = {self.eps_text(eps)} ({adv})", adv, handler)
        methods["trades"] = Method(f"TRADES (ε = {low:g})", "TRADES", self._handler("TRADESHandler", eps=low, beta=6.0))
        if self.norm == "l2":
            methods["ddn"] = Method(f"DDN (ε_max = {eps_n:g})", "DDN", self._handler("DDNHandler", eps_max=eps_n))
        iaat = self._handler("IAATHandler", eps_max=eps_n, warmup_eps=low)
        methods["iaat"] = Method(f"IAAT (ε_max = {eps_n:g}, warm-up at {low:g})", "IAAT", iaat)
        methods["mma"] = Method(f"MMA (d_max = {eps_n:g})", "MMA", self._handler("MMAHandler", eps_max=eps_n))
        ima_title = f"IMA (ε_n = {eps_n:g})"
        methods["ima"] = Method(ima_title, "IMA", self._handler("IMAHandler", **ima))
        ball = self._handler("IMAHandler", **{**ima, "start": "ball"})
        methods["ima_ball"] = Method(f"{ima_title}, start in the ball", "IMA, start in the ball", ball)
        return methods

    def eps_text(self, eps: float) -> str:
        """ε as the paper writes it: ``2/255`` or ``0.5``."""
        return f"{eps:g}" if self._per == 1 else f"{eps * self._per:g}/{self._per}"

    @property
    def level_titles(self) -> list[str]:
        """Heads of a table's columns: without an attack, and at every level."""
        return ["clean", *(f"ε = {self.eps_text(level)}" for level in self.levels)]

    @property
    def norm_title(self) -> str:
        """The norm, for a page."""
        return "L2" if self.norm == "l2" else "L∞"

    @property
    def data_title(self) -> str:
        """What the data are, for a page."""
        return "**SYNTHETIC phantom of the bundle**" if self.synthetic else self.config["data"]

    def note(self, method: str) -> dict[str, Any]:
        """What a record is of: two records with the same note can stand beside each other."""
        return {
            "study": self.name,
            "norm": self.norm,
            "seed": self.seed,
            "synthetic": self.synthetic,
            "bundle": self.config["bundle"],
            "network": self.bundle_config["network_def"]["_target_"],
            "optimizer": self.bundle_config["optimizer"]["_target_"],
            "training": self.training,
            "handler": self.methods[method].handler,
            "test_subset": self.test_images,
            "levels": self.levels,
            "attacks": self.attacks,
        }

    def run_folder(self, method: str) -> Path:
        """Where a training keeps weights, checkpoints and its log."""
        return Path(self.runs) / self.key / method

    def record_file(self, method: str) -> Path:
        """Where a finished training leaves its record."""
        return Path(self.records) / self.key / f"{method}.json"

    @property
    def _per(self) -> int:
        return self.config["norms"][self.norm].get("per", 1)

    def _handler(self, name: str, **settings: Any) -> dict[str, Any]:
        shared = {"steps": STEPS, "bounds": "@bounds", "seed": "@seed"}
        if name in ("IMAHandler", "PGDTrainingHandler"):
            shared["schedule"] = "constant"
        if name != "DDNHandler":
            shared["norm"] = self.norm
        return {"_target_": f"monai_ima.handlers.{name}", **settings, **shared}


def _rounded(eps: float) -> float:
    return round(eps, 12)
