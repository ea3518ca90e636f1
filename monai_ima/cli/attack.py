from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor, PILReader, decollate_batch
from monai.transforms import Compose, Invertd, LoadImaged, SaveImage
from tqdm import tqdm

from monai_ima.attacks import attack_from_name, attack_mode
from monai_ima.attacks.base import check_eps
from monai_ima.criteria import DiceCriterion
from monai_ima.evaluation.loaded import LoadedBundle, load_bundle
from monai_ima.inferers import gradient_inferer
from monai_ima.utils.errors import SampleError
from monai_ima.utils.generators import per_sample_generators
from monai_ima.utils.predictor import Predictor
from monai_ima.utils.sample_ids import batch_sample_ids

__all__ = ["attack"]


def attack(
    bundle: str,
    eps: float,
    norm: str = "linf",
    attack: str = "pgd100x2",
    out: str | None = None,
    checkpoint: str | None = None,
    config: str = "evaluate.json",
    seed: int = 0,
    limit: int | None = None,
    **overrides: Any,
) -> None:
    """Attack a trained bundle's images at one level of noise and save what the attack makes of them.

    Runs the bundle's evaluation config (and so its expressions). A volume is saved as NAME_noisy.nii.gz beside the
    noise alone, NAME_noise.nii.gz, on the scan's own grid with its own affine (what the bundle turned, padded or
    resampled is turned back); a 2-D image as NAME_noisy.png; a signal as NAME_noisy.csv, a row for each channel.
    Intensities are those that the network sees (normalised); a 2-D image's are scaled from the bundle's bounds to
    0..255. Nothing is written over.

    Args:
        bundle: folder of the bundle.
        eps: radius of the noise, > 0, in the units that the network sees.
        norm: l2 or linf.
        attack: as for evaluate: pgd100x2, apgd100-dlr, ddn100, pgd100x2+pgd100x2-dice, ...
        out: folder to write to; default BUNDLE/eval/attack.
        checkpoint: weights; default is the config's ckpt_path, else BUNDLE/models/model.pt.
        config: file name(s) in BUNDLE/configs, several separated by commas.
        seed: of the random starts.
        limit: attack that many images only; default all.
        overrides: values of config ids, such as --dataset_dir DIR.
    """
    if not check_eps(eps, torch.zeros(1, 1)).item() > 0:
        raise ValueError(f"Got eps {eps}, expected a number > 0.")
    attack_from_name(attack, norm, criterion=DiceCriterion())
    folder = Path(out) if out is not None else Path(bundle) / "eval" / "attack"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"Folder {folder} is not empty, expected a new one: give another --out.")
    loaded = load_bundle(bundle, config, checkpoint, **overrides)
    attacker = attack_from_name(attack, norm, loaded.bounds, loaded.attack_criterion)
    inferer = gradient_inferer(loaded.inferer)
    saved = wrong = 0
    with attack_mode(loaded.network):
        for batchdata in tqdm(loaded.data_loader, desc="attacking"):
            if limit is not None and saved >= limit:
                break
            image, label, *extra = loaded.prepare_batch(batchdata, loaded.device)
            sample_ids = batch_sample_ids(batchdata, image)
            forward = Predictor.prepared(inferer, loaded.network, len(image), extra)
            try:
                found = attacker(
                    forward, image, label, eps, per_sample_generators(f"{seed}/{eps}", sample_ids, loaded.device)
                )
            except SampleError as error:
                raise error.named(sample_ids) from None
            noisy, clean = (decollate_batch(batch.detach().cpu()) for batch in (found.image, image))
            stood = found.clean_correct.tolist()
            for sample_id, one, other, right in zip(sample_ids, noisy, clean, stood, strict=True):
                if limit is None or saved < limit:
                    _save(folder, sample_id, one, other, loaded)
                    saved += 1
                    wrong += not right
    untouched = f" ({wrong} of them were wrong without noise and are saved as they are)" if wrong else ""
    print(f"{saved} images attacked{untouched}; written to {folder}.")


def _save(folder: Path, sample_id: str, noisy: torch.Tensor, clean: torch.Tensor, loaded: LoadedBundle) -> None:
    stem = folder / Path(sample_id.removesuffix(".gz")).with_suffix("")
    stem.parent.mkdir(parents=True, exist_ok=True)
    if noisy.ndim == 2:
        np.savetxt(f"{stem}_noisy.csv", noisy.numpy(), delimiter=",", fmt="%.8g")
        return
    if noisy.ndim == 3:
        lo, hi = loaded.bounds or (float(noisy.min()), float(noisy.max()))
        picture = (noisy - lo) / (hi - lo)
        writer = SaveImage(output_ext=".png", scale=255, resample=False, print_log=False, writer="PILWriter")
        writer.set_options(write_kwargs={"reverse_indexing": _axes_swapped(loaded)})
        writer(picture, filename=f"{stem}_noisy")
        return
    noise = noisy.clone()
    noise.copy_(noisy - clean)
    for name, volume in (("noisy", noisy), ("noise", noise)):
        restored = _on_own_grid(volume, loaded)
        writer = SaveImage(output_ext=".nii.gz", resample=False, print_log=False, output_dtype="float32")
        writer(restored, filename=f"{stem}_{name}")


def _axes_swapped(loaded: LoadedBundle) -> bool:
    """Pictures are read as ``[C, width, height]``, MONAI's default, unless the bundle's reader was told otherwise."""
    transforms = getattr(_transform(loaded), "transforms", ())
    loaders = [t for t in transforms if isinstance(t, LoadImaged)]
    readers = [r for loader in loaders for r in loader._loader.readers if isinstance(r, PILReader)]
    return readers[-1].reverse_indexing if readers else bool(loaders)


def _transform(loaded: LoadedBundle) -> Any:
    return getattr(getattr(loaded.data_loader, "dataset", None), "transform", None)


def _on_own_grid(volume: torch.Tensor, loaded: LoadedBundle) -> torch.Tensor:
    transform = _transform(loaded)
    if not isinstance(volume, MetaTensor) or not isinstance(transform, Compose):
        return volume
    inverse = Invertd("image", transform, orig_keys="image", nearest_interp=False, to_tensor=True)
    return inverse({"image": volume})["image"]
