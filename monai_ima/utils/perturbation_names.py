"""The names of perturbations, for help texts that load no heavy library."""

__all__ = ["PERTURBATION_NAMES"]

PERTURBATION_NAMES = (
    "bias_field",
    "gamma",
    "intensity_shift",
    "noise",
    "rician",
    "speckle",
    "ct_dose",
    "blur",
    "motion",
    "motion_rotation",
    "ghosting",
    "spike",
    "gibbs",
    "frequency",
    "rotation",
    "translation",
    "elastic",
    "gain",
    "baseline_wander",
    "powerline",
)
