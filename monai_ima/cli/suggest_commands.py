"""Lines for a shell that go on with what ``monai-ima suggest`` found."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from monai_ima.evaluation.suggest import Suggestion
from monai_ima.from_files.settings import FILE_OPTIONS, FileSettings
from monai_ima.harden.parts import AlreadyHardenedError, find_parts
from monai_ima.harden.reading import TrainingConfig, read_training_config
from monai_ima.perturbations import BiasField

__all__ = ["NORMS", "commands", "listed"]

BIAS_EPS_MAX, BIAS_SIZES = 10, f"{BiasField.name}@1:2:5:10"
NORMS = {"l2": "L2", "linf": "L∞"}


def commands(settings: FileSettings, suggestion: Suggestion) -> list[str]:
    """Lines that evaluate and harden with what is suggested.

    Args:
        settings: of the data.
        suggestion: for them.
    """
    data = shlex.join(_data_words(settings))
    kept = "" if settings.bundle is not None else "--save_bundle BUNDLE "
    l2, linf = (f"--norm {norm} --levels {listed(suggestion.levels[norm])}" for norm in NORMS)
    return [
        f"monai-ima evaluate {data} {l2} {kept}--out robustness_l2",
        f"monai-ima evaluate {data} {linf} --out robustness_linf",
        f"monai-ima evaluate {data} --levels 0 --perturbation {BIAS_SIZES} --out robustness_bias_field",
        *(_harden("BUNDLE", suggestion) if settings.bundle is None else _of_bundle(settings, suggestion)),
    ]


def listed(levels: Sequence[float]) -> str:
    """Levels as an option takes them."""
    return ",".join(f"{level:g}" for level in levels)


def _harden(bundle: str, suggestion: Suggestion, data: Sequence[str] = ()) -> list[str]:
    searched = shlex.join(["--max_clean_loss", "0.01", *data])
    return [
        *(
            f"monai-ima harden --bundle {shlex.quote(bundle)} --norm {norm} --eps_max {suggestion.eps_max[norm]:g} "
            f"{searched}"
            for norm in NORMS
        ),
        f"monai-ima harden --bundle {shlex.quote(bundle)} --perturbation {BiasField.name} --eps_max {BIAS_EPS_MAX}",
    ]


def _of_bundle(settings: FileSettings, suggestion: Suggestion) -> list[str]:
    """Lines that harden a bundle, or train one that is hardened already; a remark where it cannot be."""
    bundle = str(settings.bundle)
    try:
        config = read_training_config(bundle)
    except (OSError, ValueError) as error:
        return [f"# Nothing hardens it: {error}"]
    data = [_option(name, value) for name, value in settings.overrides.items() if name in config]
    try:
        find_parts(config)
    except AlreadyHardenedError as error:
        return _trained(config, suggestion, data) or [f"# {error}"]
    except ValueError as error:
        return [f"# Nothing hardens it: {error}"]
    return _harden(bundle, suggestion, data)


def _trained(config: TrainingConfig, suggestion: Suggestion, data: Sequence[str]) -> list[str]:
    """Lines that train with the suggested ε_max, where the config has it among its ids as our bundles do."""
    if not all(name in config.content for name in ("norm", "eps_max")):
        return []
    (file,) = config.files
    return [
        shlex.join(
            [
                *("python", "-m", "monai.bundle", "run", "--config_file", str(file)),
                *("--bundle_root", str(config.root), "--norm", norm, "--eps_max", f"{suggestion.eps_max[norm]:g}"),
                *data,
            ]
        )
        for norm in NORMS
    ]


def _data_words(settings: FileSettings) -> list[str]:
    """The options of ``evaluate`` that choose the same data."""
    names = ("bundle", "config", "channels") if settings.images is None else ("model", "channels", *FILE_OPTIONS)
    given = {name: getattr(settings, name) for name in names} | dict(settings.overrides)
    return [_option(name, value) for name, value in given.items() if value is not None]


def _option(name: str, value: object) -> str:
    text = ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
    return f"--{name}={text}"
