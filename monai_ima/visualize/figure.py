from __future__ import annotations

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["save_figure"]


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PNG.

    Raises:
        FileExistsError: when ``path`` exists.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"File {path} exists already, expected a new one.")
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))
    return path
