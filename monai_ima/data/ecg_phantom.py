"""A SYNTHETIC ECG: single beats of five classes, drawn from a seed. Nothing here was measured on a patient.

A beat starts at its R-peak, lasts 1.2 periods and so reaches into the next beat, as in the public heartbeat files.
Times are in seconds from the R-peak, amplitudes in heights of a normal R-peak.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from monai_ima.utils.checks import MAX_SEED, check_count

from .ecg_heartbeat import BEAT_CLASSES, SAMPLES, beat_item
from .folders import SPLITS, Datalist
from .phantom import phantom_counts

__all__ = ["ecg_phantom", "ecg_phantom_datalist"]

RATE = 125.0
"""Samples a second."""

SHARES = (0.60, 0.12, 0.14, 0.05, 0.09)
"""Of the classes, in the order of ``BEAT_CLASSES``: unequal, but with enough beats of the rare ones."""

Wave = tuple[float, float, float]
"""Time of the top, amplitude, and width (standard deviation) of a Gaussian."""

NARROW: tuple[Wave, ...] = (
    (-0.16, 0.14, 0.022),  # P
    (-0.032, -0.12, 0.010),  # Q
    (0.0, 1.0, 0.012),  # R
    (0.034, -0.25, 0.012),  # S
    (0.28, 0.30, 0.045),  # T
)
PREMATURE: tuple[Wave, ...] = (
    (-0.12, 0.09, 0.015),  # P, other shape and closer
    (-0.032, -0.10, 0.010),
    (0.0, 0.92, 0.012),
    (0.034, -0.20, 0.012),
    (0.25, 0.20, 0.040),
)
BROAD: tuple[Wave, ...] = (
    (0.0, 1.1, 0.035),  # no P; R and S are wide
    (0.10, -0.45, 0.040),
    (0.32, -0.35, 0.060),  # T against the QRS complex
)
PACED: tuple[Wave, ...] = (
    (-0.045, 0.55, 0.005),  # the pacemaker's spike
    (0.01, 0.85, 0.030),
    (0.09, -0.50, 0.045),
    (0.31, 0.45, 0.065),
)


def ecg_phantom(label: int, rng: np.random.Generator) -> np.ndarray:
    """Draw one synthetic beat, and the start of the normal (or paced) beat that follows it.

    - N: P, Q, R, S and T waves; the next beat comes after one period.
    - S: a premature beat, narrow, with a lower and earlier T wave; the next beat comes a little late.
    - V: a broad beat without P wave, its T wave downwards; the next beat comes late.
    - F: a mixture of N and V.
    - Q: a paced beat, a thin spike before a broad complex; the next one is paced too.

    Times, amplitudes and widths of all waves, the period, baseline wander and noise vary in all classes.

    Args:
        label: index into ``BEAT_CLASSES``.
        rng: source of everything random.

    Returns:
        float32 ``[187]``: the beat scaled to [0, 1] by its own extremes, then zeros.

    Raises:
        ValueError: if label is no index into ``BEAT_CLASSES``.
    """
    if label not in range(len(BEAT_CLASSES)):
        raise ValueError(f"Got label {label}, expected an index into {BEAT_CLASSES}.")
    name = BEAT_CLASSES[label]
    period = rng.uniform(0.6, 1.15)
    time = np.arange(min(int(1.2 * period * RATE), SAMPLES)) / RATE
    late = {"S": rng.uniform(0.02, 0.25), "V": rng.uniform(0.1, 0.5), "F": rng.uniform(-0.05, 0.2)}
    following = period * (1 + late.get(name, rng.normal(scale=0.03)))
    mixture = {"V": 1.0, "F": rng.uniform(0.35, 0.65)}.get(name, 0.0)
    waves = {"S": PREMATURE, "Q": PACED}.get(name, NARROW)
    beat = (1 - mixture) * _draw(waves, time, period, rng) + mixture * _draw(BROAD, time, period, rng)
    beat = beat + _draw(PACED if name == "Q" else NARROW, time - following, period, rng)
    wander = rng.uniform(0, 0.08) * np.sin(2 * np.pi * (rng.uniform(0.1, 0.5) * time + rng.random()))
    beat = beat + wander + rng.normal(scale=rng.uniform(0.005, 0.03), size=time.size)
    beat = (beat - beat.min()) / (beat.max() - beat.min())
    return np.pad(beat, (0, SAMPLES - beat.size)).astype(np.float32)


def ecg_phantom_datalist(beats: Mapping[str, int] | int = 1000, seed: int = 0) -> Datalist:
    """A SYNTHETIC data set in memory; its classes are of unequal size (``SHARES``, at least one beat of each).

    Args:
        beats: in each split, ``{"train": n, "val": n, "test": n}``, each >= 5; one number n >= 25 stands for n, n/5 and
            n/2.
        seed: >= 0; every beat depends on the seed and its own place only.

    Returns:
        what :func:`heartbeat_datalist` returns.

    Raises:
        ValueError: if a number is below its least value, or a split is missing.
    """
    counts = phantom_counts("beats", beats, len(BEAT_CLASSES))
    seed = check_count("seed", seed, 0, MAX_SEED)
    datalist = {}
    for index, split in enumerate(SPLITS):
        rare = [max(1, int(share * counts[split])) for share in SHARES[1:]]
        labels = np.repeat(range(len(BEAT_CLASSES)), [counts[split] - sum(rare), *rare]).tolist()
        datalist[split] = [
            beat_item(ecg_phantom(label, np.random.default_rng([seed, index, place])), split, place + 1, label)
            for place, label in enumerate(labels)
        ]
    return datalist


def _draw(waves: tuple[Wave, ...], time: np.ndarray, period: float, rng: np.random.Generator) -> np.ndarray:
    """A beat's waves, jittered; the T wave moves away from the R-peak with the root of the period (Bazett)."""
    beat = np.zeros_like(time)
    for top, amplitude, width in waves:
        centre = top * (np.sqrt(period) if top > 0.2 else 1) + rng.normal(scale=0.004 + 0.04 * abs(top))
        height = amplitude * rng.normal(1, 0.18)
        beat += height * np.exp(-(((time - centre) / (width * rng.uniform(0.8, 1.3))) ** 2) / 2)
    return beat
