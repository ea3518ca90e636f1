"""One training of a study, its attacks and its record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow

from compare_records import check_note, encode, rounded_up, sample_fingerprint, write_record
from compare_study import BLACK_BOX_SAMPLES, DDN_STEPS, NOISE, WHITE_BOX, Study
from monai_ima.attacks import DDN, attack_from_name, attack_mode
from monai_ima.evaluation.classification import ClassificationEvaluator
from monai_ima.evaluation.loaded import LoadedBundle
from monai_ima.harden.loading import load_bundle
from monai_ima.margins import load_margins
from monai_ima.results.provenance import machine
from monai_ima.utils.errors import root_cause
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.sample_ids import batch_sample_ids
from studies import read_json, total_time, train_bundle, write_whole

SMALL_BATCH = 10


def test_items(study: Study) -> list[dict[str, Any]]:
    """The test samples, without a network.

    Raises:
        FileNotFoundError: if data are missing.
        ValueError: if data or their number are not as the bundle expects.
    """
    settings = _evaluation_settings(study)
    file = study.bundle / "configs" / "evaluate.json"
    workflow = ConfigWorkflow(str(file), logging_file=False, bundle_root=str(study.bundle), **settings)
    try:
        return workflow.parser.get_parsed_content("datalist")["test"]
    except RuntimeError as error:  # MONAI wraps what a component raises
        cause = root_cause(error)
        if isinstance(cause, (OSError, ValueError)):
            raise cause from None
        raise


def open_run_folder(study: Study, method: str) -> Path:
    """A training's own folder, made with a note of what is trained and attacked in it.

    Raises:
        RecordError: if it was made with another note.
    """
    folder = study.run_folder(method)
    file = folder / "settings.json"
    note = study.note(method)
    if file.is_file():
        check_note(file, read_json(file), note)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(note, indent=1))
    return folder


def training_settings(study: Study, method: str) -> dict[str, Any]:
    """What :func:`studies.bundle_training` needs to train with a method's handler in the place of the bundle's own."""
    own = study.methods[method]
    changes: dict[str, Any] = {}
    if own.handler is not None:
        changes["train#handlers#0"] = own.handler
        if not own.has_margins:
            changes["train#checkpoint"] = {"model": "@network", "optimizer": "@optimizer"}
            changes["validate#robust_handlers#2#margins"] = None
    return {
        "overlays": ["train_ce.json"] if own.handler is None else [],
        "model_name": "model",
        "norm": study.norm,
        **study.data_settings,
        **{name: study.training[name] for name in ("epochs", "batch_size", "learning_rate")},
        **changes,
    }


def train(study: Study, method: str) -> Path:
    """Train, or resume what was interrupted; returns the last epoch's checkpoint."""
    settings = {**training_settings(study, method), "val_interval": study.training["epochs"] + 1}
    return train_bundle(study.bundle, study.run_folder(method) / "model_last.pt", **settings)


def open_study(study: Study, checkpoint: Path | str) -> LoadedBundle:
    """The bundle's evaluator with a network's weights on the test samples."""
    most = study.config["test_batch"]
    batch_size = most if torch.cuda.is_available() else min(most, 250)
    settings = _evaluation_settings(study)
    return load_bundle(study.bundle, checkpoint=checkpoint, batch_size=batch_size, **settings)


def finish(study: Study, method: str, setting: str) -> None:
    """Train, attack, and write the record; goes on with what an interrupted call left.

    Args:
        study: what is trained on and attacked.
        method: one of ``study.methods``.
        setting: threads and processes, for the record.
    """
    checkpoint = train(study, method)
    loaded = open_study(study, checkpoint)
    measured = fingerprints(loaded)
    attacks = {name: _attacked(study, method, loaded, measured, name) for name in study.attacks}
    record: dict[str, Any] = {
        "note": study.note(method),
        **where(loaded, setting),
        "seconds": {
            "training": round(total_time(study.run_folder(method)), 1),
            "attacks": round(sum(part["seconds"] for part in attacks.values()), 1),
        },
        **measured,
        "margins": margin_summary(checkpoint) if study.methods[method].has_margins else None,
        "broken_at": {name: part["found"] for name, part in attacks.items() if name != "ddn"},
    }
    if "ddn" in attacks:
        record["ddn"] = attacks["ddn"]["found"]
    write_record(study.record_file(method), record)


def where(loaded: LoadedBundle, setting: str) -> dict[str, Any]:
    """For a record: network, machine and versions."""
    return {
        "parameters": loaded.model.parameters,
        "machine": f"{machine(loaded.device)}, {setting}",
        "versions": {name: version(name) for name in ("monai-ima", "monai", "torch", "pytorch-ignite")},
    }


def fingerprints(loaded: LoadedBundle) -> dict[str, Any]:
    """For a record: which weights were attacked on which samples."""
    loader: Any = loaded.data_loader
    return {"weights_sha256": loaded.weights_sha256, "samples": sample_fingerprint(loader.dataset.data)}


def margin_summary(checkpoint: Path | str) -> dict[str, float]:
    """Count, mean and median of a checkpoint's margins, and the share that are at their upper limit."""
    table = load_margins(checkpoint)
    margins = table.values()
    return {
        "count": len(margins),
        "mean": round(margins.mean().item(), 5),
        "median": round(margins.quantile(0.5).item(), 5),
        "share_at_eps_max": round((margins >= table.eps_max).double().mean().item(), 4),
    }


def _attacked(study: Study, method: str, loaded: LoadedBundle, measured: dict[str, Any], attack: str) -> dict[str, Any]:
    """An attack's results, from an interrupted call or made now: one attack a file."""
    file = study.run_folder(method) / f"attack_{attack}.json"
    if file.is_file():
        part = read_json(file)
        if {name: part[name] for name in measured} == measured:
            return part
    begin = time.perf_counter()
    found = _found(study, loaded, attack)
    part = {**measured, "seconds": time.perf_counter() - begin, "found": found}
    write_whole(file, json.dumps(part))
    return part


def _found(study: Study, loaded: LoadedBundle, attack: str) -> str | list[float | None]:
    if attack == "ddn":
        return [rounded_up(distance) for distance in _minimum_distances(study, loaded)]
    levels, batches = study.levels, loaded.data_loader
    if attack not in (*WHITE_BOX, NOISE):
        levels, batches = levels[1:3], islice(_small_batches(loaded), BLACK_BOX_SAMPLES // SMALL_BATCH)
    attacker = attack_from_name(attack, study.norm, loaded.bounds, loaded.criterion)
    evaluator = ClassificationEvaluator.of_bundle(loaded, attacker, study.seed)
    result = evaluator.run(batches, levels, progress=False)
    return encode([record.broken for record in result.records], study.levels)


def _minimum_distances(study: Study, loaded: LoadedBundle) -> list[float | None]:
    """The smallest L2 perturbation that DDN finds for each sample, up to twice the highest level; None for none."""
    attack = DDN(DDN_STEPS, init_eps=study.levels[0], bounds=loaded.bounds)
    distances: list[float | None] = []
    with attack_mode(loaded.network):
        for batch in loaded.data_loader:
            image, label, *_ = loaded.prepare_batch(batch, loaded.device)
            streams = per_sample_generators(f"{study.seed}/ddn", batch_sample_ids(batch, image))
            result = attack(loaded.network, image, label, 2 * study.levels[-1], streams)
            pairs = zip(result.distance.tolist(), result.success.tolist(), strict=True)
            distances += [distance if success else None for distance, success in pairs]
    return distances


def _small_batches(loaded: LoadedBundle) -> Iterable:
    loader: Any = loaded.data_loader
    return torch.utils.data.DataLoader(loader.dataset, batch_size=SMALL_BATCH, collate_fn=loader.collate_fn)


def _evaluation_settings(study: Study) -> dict[str, Any]:
    settings = {**study.data_settings, "split": "test"}
    if study.test_images is not None:
        settings["test_subset"] = study.test_images
    return settings
