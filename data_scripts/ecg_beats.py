"""Cut a continuous ECG into beats of 187 samples as Kachuee et al. 2018 (arXiv 1805.00794) do.

Their steps: lead II at 125 Hz in windows of 10 s, scaled to [0, 1]; the median time between R-peaks in a window is its
period T; from every R-peak on, a part 1.2 T long, padded with zeros. Two things are as in their published files rather
than in their text: a beat starts at every annotated R-peak (not at those above a threshold only), and it is scaled to
[0, 1] by its own extremes (984 of the 1000 beats at hand reach 1), before it is cut to 187 samples.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from scipy.signal import resample_poly

from monai_ima.data.ecg_heartbeat import BEAT_CLASSES, SAMPLES

RATE = 125
WINDOW = 10 * RATE
LENGTH_IN_PERIODS = 1.2

AAMI = {"N": "NLRej", "S": "AaJS", "V": "VE", "F": "F", "Q": "/fQ"}
"""Annotations of the MIT-BIH database by the classes of the AAMI; all others mark no beat."""

LABELS = {symbol: BEAT_CLASSES.index(name) for name, symbols in AAMI.items() for symbol in symbols}
"""Class index of every annotation that marks a beat."""


def resample(signal: np.ndarray, rate: float) -> np.ndarray:
    """A signal ``[n]`` of ``rate`` samples a second at 125 Hz, low-pass filtered: ``[about n * 125 / rate]``."""
    ratio = Fraction(RATE / rate).limit_denominator(1000)
    return resample_poly(signal, ratio.numerator, ratio.denominator, padtype="line")


def cut_beats(signal: np.ndarray, peaks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The beats of a continuous signal.

    A beat is left out where its window holds no second R-peak, where the recording ends before it does, and where the
    signal is flat or unknown (NaN).

    Args:
        signal: ``[n]`` at 125 Hz, in any unit.
        peaks: int ``[k]``, positions of the R-peaks of all beats, rising.

    Returns:
        the beats, float32 ``[m, 187]`` in [0, 1], and int ``[m]``, which of the peaks they start at.
    """
    beats, chosen = [], []
    windows = peaks // WINDOW
    for window in np.unique(windows):
        own = np.flatnonzero(windows == window)
        length = int(LENGTH_IN_PERIODS * np.median(np.diff(peaks[own]))) if len(own) > 1 else 0
        for k in own:
            part = signal[peaks[k] : peaks[k] + length]
            if 1 < len(part) == length and np.ptp(part) > 0:
                scaled = ((part - part.min()) / np.ptp(part))[:SAMPLES]
                beats.append(np.pad(scaled, (0, SAMPLES - len(scaled))))
                chosen.append(k)
    return np.array(beats, dtype=np.float32).reshape(-1, SAMPLES), np.array(chosen, dtype=int)
