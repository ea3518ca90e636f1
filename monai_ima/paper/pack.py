"""The folder of files that a paper takes in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from monai_ima.report.compare import labelled
from monai_ima.results.paired import PairedDifference, differences_from_first
from monai_ima.results.schema import Results
from monai_ima.utils.checks import check_choice
from monai_ima.utils.files import check_can_be_made, whole_file

from .article import article
from .figures import KINDS, paper_figures, save
from .latex import escape, table
from .long_table import long_table
from .methods import methods
from .prose import joined
from .references import bibtex, cited, in_markdown, with_citations
from .tables import paper_tables

__all__ = ["write_pack"]


def write_pack(
    models: Sequence[Results],
    folder: str | Path,
    figures: Sequence[str] = ("pdf",),
    title: str | None = None,
    trainings: Sequence[str] | None = None,
) -> tuple[list[str], str | None]:
    """Write tables, figures, methods, references and scores of one model or several.

    ``paper.tex`` shows how a paper takes them in, and compiles as it is.

    Args:
        models: results of one norm and metric.
        folder: to make; it must not exist.
        figures: kinds of files, of :data:`~monai_ima.paper.figures.KINDS`.
        title: of ``paper.tex``.
        trainings: how each model was trained, names of :data:`~monai_ima.paper.known.TRAININGS`; None: not said.

    Returns:
        The names of the files, and why there are no paired differences; None where there are, or of one model.

    Raises:
        FileExistsError: if the folder exists.
        ValueError: if norms or metrics differ, or a kind of figure or a training is not known.
    """
    folder = Path(folder)
    for kind in figures:
        check_choice("figures", kind, KINDS)
    models = labelled(models)
    differences, reason = _differences(models)
    text = methods(models, differences, trainings)
    check_can_be_made(folder)
    if folder.exists():
        raise FileExistsError(f"Folder {folder} exists and is not written over: give another --out.")
    drawn = paper_figures(models) if figures else {}
    shown = drawn if "pdf" in figures else {}
    tables = list(paper_tables(models, differences))
    title = title or f"Robustness of {joined([one.label for one in models])}"
    texts = {
        "tables.tex": _head(models) + "\n".join(map(table, tables)),
        "methods.tex": _head(models) + with_citations(text, escape, lambda keys: rf"\cite{{{','.join(keys)}}}") + "\n",
        "methods.md": in_markdown(text) + "\n",
        "references.bib": bibtex(cited(text)),
        "results.csv": long_table(models),
        "paper.tex": article(title, models, [one.label for one in tables], shown),
    }
    _write(folder, texts)
    for name, figure in drawn.items():
        for kind in figures:
            save(figure, folder / "figures" / f"{name}.{kind}")
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.*")), reason


def _write(folder: Path, texts: Mapping[str, str]) -> None:
    for name, text in texts.items():
        with whole_file(folder / name, overwrite=False) as unfinished:
            unfinished.write_text(text, encoding="utf-8")


def _differences(models: Sequence[Results]) -> tuple[list[list[PairedDifference]], str | None]:
    """Of every other model from the first; none, and why, where they were not measured on the same samples."""
    if len(models) < 2:
        return [], None
    try:
        return differences_from_first(models), None
    except ValueError as error:
        return [], str(error)


def _head(models: Sequence[Results]) -> str:
    """Comments that say where the numbers are from."""
    return "".join(f"% {line}\n" for line in _origins(models))


def _origins(models: Sequence[Results]) -> Iterator[str]:
    yield f"Written by monai_ima {version('monai-ima')} from"
    for one in models:
        words = f"{one.label}: {one.source.file.name} with SHA-256 {one.source.digest}, of: {one.command}"
        yield re.sub(r"\s+", " ", words)
