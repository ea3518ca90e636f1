"""What ε measures."""

from .norms import L2, Linf, Norm, get_norm

__all__ = ["L2", "Linf", "Norm", "get_norm"]
