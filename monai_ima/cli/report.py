from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from monai_ima.utils.checks import check_choice, check_path

__all__ = ["report"]

FORMATS = ("html", "md", "json", "csv", "latex")
ENDINGS = {"html": (".html", ".htm"), "md": (".md", ".markdown"), "json": (".json",), "csv": (".csv",)}
PAGE = {"checkpoint", "logs", "title", "submission"}
USED = {"html": {*PAGE, "appendix"}, "md": PAGE, "json": PAGE, "csv": set(), "latex": {"title", "figures", "trained"}}
"""Options that a format has a use for."""

RESULTS = "results.json of `evaluate`, or its folder; several (same norm and metric) separated by commas."
FORMAT = (
    "html, md (Markdown, tables in place of charts), json (the summary numbers), csv (every score as a row) or latex "
    "(a folder for a paper: tables, figures, methods, references)."
)
FIGURES = "Kinds of the figures of --format latex, separated by commas: pdf (default), svg."
TRAINED = (
    "How each model was trained, for the methods of --format latex, separated by commas: plain, ima, pgd, trades, ddn, "
    "iaat or mma."
)
NAMES = "A name for each model, one for each of the results, separated by commas; default: the bundles' names."
APPENDIX = (
    "Show and print the appendix (names of attacks, what each check saw, provenance, commands); else it is folded."
)

SUBMISSION = (
    "Add to the appendix what was measured, and what not, by the questions of the FDA's draft guidance (January 2025) "
    "and of ISO/IEC 24029: facts, no claim of conformity."
)


def report(
    results: Annotated[str | Sequence[str], RESULTS],
    out: Annotated[str | None, "File to write, or a folder for it; default: beside the first results."] = None,
    format: Annotated[str, FORMAT] = "html",
    checkpoint: Annotated[str | None, "Add the IMA margins in it, such as BUNDLE/models/model_last.pt."] = None,
    logs: Annotated[str | None, "Add training curves from the TensorBoard files in this folder and below."] = None,
    title: Annotated[str | None, "Title of the report."] = None,
    names: Annotated[str | Sequence[str] | None, NAMES] = None,
    figures: Annotated[str | Sequence[str] | None, FIGURES] = None,
    trained: Annotated[str | Sequence[str] | None, TRAINED] = None,
    appendix: Annotated[bool, APPENDIX] = False,
    submission: Annotated[bool, SUBMISSION] = False,
) -> None:
    """Write a report on the robustness of one model, or of several side by side.

    The HTML page is one file without scripts that loads nothing. It begins with three sentences: what was gained (or
    how robust one model is), at what cost, and whether that can be trusted. For a paper --format latex writes a folder
    with tables, vector figures, a paragraph of methods, its references and every score. Nothing is overwritten.

    \b
    Example: monai-ima report --results BUNDLE/eval/robustness --checkpoint BUNDLE/models/model_last.pt
    """
    from monai_ima.margins import load_margins, summarize_margins
    from monai_ima.paper import long_table
    from monai_ima.report import Margins, build_report, html_page, json_summary, markdown, read_logs
    from monai_ima.report.compare import labelled
    from monai_ima.results.schema import Results
    from monai_ima.utils.files import check_can_be_made, whole_file

    check_choice("format", format, FORMATS)
    given = {"checkpoint": checkpoint, "logs": logs, "title": title, "figures": figures, "trained": trained}
    switched = {"appendix": appendix, "submission": submission}
    asked = {name for name, value in given.items() if value is not None}
    _check_used(format, asked | {name for name, value in switched.items() if value})
    models = _named([Results.read(path) for path in _paths(results)], names)
    _check_different([model.source.file for model in models])
    file = Path(check_path("out", out)) if out is not None else models[0].source.file.parent
    if format == "latex":
        _write_paper(models, file if out is not None else file / "paper", title, figures, trained)
        return
    if file.is_dir():
        file = file / f"report.{format}"
    _check_ending(file, format)
    check_can_be_made(file)
    if file.exists():
        raise FileExistsError(f"File {file} exists and is not written over: give another --out.")
    margins = None
    if checkpoint is not None:
        table = load_margins(checkpoint)
        margins = Margins(Path(checkpoint), table, summarize_margins(table))
    curves = None if logs is None else (Path(logs), read_logs(logs))
    if format == "json":
        text = json_summary(models, margins, curves, title, submission)
    elif format == "csv":
        text = long_table(labelled(models))
    else:
        page = build_report(models, margins, curves, title, open_appendix=appendix, submission=submission)
        text = html_page(page) if format == "html" else markdown(page)
    with whole_file(file, overwrite=False) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    print(f"Written to {file}")


def _write_paper(
    models: list[Any],
    folder: Path,
    title: str | None,
    figures: str | Sequence[str] | None,
    trained: str | Sequence[str] | None,
) -> None:
    from monai_ima.paper import write_pack

    trainings = None if trained is None else _list(trained)
    kinds = ["pdf"] if figures is None else _list(figures)
    written, reason = write_pack(models, folder, kinds, title, trainings)
    if reason is not None:
        print(f"The models are not compared pair by pair: {reason}")
    print(f"Written to {folder}: {', '.join(written)}")


def _check_used(format: str, given: set[str]) -> None:
    for name in sorted(given - USED[format]):
        formats = " or ".join(one for one in FORMATS if name in USED[one])
        raise ValueError(f"Option --{name} is of no use for --format {format}, expected it with {formats} only.")


def _list(texts: str | Sequence[str]) -> list[str]:
    """What an option lists, separated by commas or as a sequence."""
    return [str(text).strip() for text in (texts.split(",") if isinstance(texts, str) else texts)]


def _named(models: list[Any], names: str | Sequence[str] | None) -> list[Any]:
    """The models' results, labelled with the labels names."""
    if names is None:
        return models
    labels = _list(names)
    if len(labels) != len(models) or len(set(labels)) != len(labels) or "" in labels:
        raise ValueError(f"Got names {', '.join(labels)} for {len(models)} results, expected a different one for each.")
    return [model.named(label) for model, label in zip(models, labels, strict=True)]


def _check_different(files: Sequence[Path]) -> None:
    resolved = [file.resolve() for file in files]
    for file in files:
        if resolved.count(file.resolve()) > 1:
            raise ValueError(f"Got the results {file} twice, expected each of them once.")


def _check_ending(file: Path, format: str) -> None:
    if file.suffix and file.suffix.lower() not in ENDINGS[format]:
        expected = " or ".join(ENDINGS[format])
        raise ValueError(f"Got out {file} for a report in {format}, expected a name that ends in {expected}.")


def _paths(results: str | Sequence[str]) -> list[str]:
    """The paths in the option's value: one, several separated by commas, or a sequence of them."""
    if isinstance(results, str):
        results = [results] if results and Path(results).exists() else [path.strip() for path in results.split(",")]
    paths = list(map(str, results))
    if not any(paths):
        raise ValueError("Got no results, expected at least one results.json or its folder.")
    if not all(paths):
        raise ValueError(f"Got results {', '.join(paths)!r}, expected no empty path between or behind the commas.")
    return paths
