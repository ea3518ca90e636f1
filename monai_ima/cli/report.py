from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from monai_ima.report import Margins, build_report, html_page, json_summary, markdown, read_logs
from monai_ima.results.schema import Results

from .margins import load_margins, summarize_margins

__all__ = ["report"]

FORMATS = ("html", "md", "json")


def report(
    results: str | Sequence[str],
    out: str | None = None,
    format: str = "html",
    checkpoint: str | None = None,
    logs: str | None = None,
    title: str | None = None,
    names: str | Sequence[str] | None = None,
) -> None:
    """Write a report on how robust one model is, or several side by side.

    The HTML page is one file with everything in it: curves with 95 % intervals, worst cases, checks for gradient
    masking, where each figure comes from. It has no script and loads nothing. Nothing is written over.

    Args:
        results: what `evaluate` wrote: results.json or its folder; several are separated by commas. Their norms and
            metrics must be the same.
        out: file to write, or a folder for it; default is report.html (.md, .json) beside the first results.
        format: html, md (Markdown with tables in place of charts) or json (the summary numbers, for machines).
        checkpoint: adds the margins that IMA training left in this checkpoint, such as BUNDLE/models/model_last.pt.
        logs: adds training curves from the TensorBoard files in this folder and below.
        title: of the report.
        names: what to call the models, one for each of the results, separated by commas; default is the bundles' names.
    """
    if format not in FORMATS:
        raise ValueError(f"Got format {format!r}, expected one of {', '.join(FORMATS)}.")
    models = _named([Results.read(path) for path in _paths(results)], names)
    file = Path(str(out)) if out is not None else models[0].source.file.parent
    if file.is_dir():
        file = file / f"report.{format}"
    if file.exists():
        raise FileExistsError(f"File {file} exists and is not written over: give another --out.")
    margins = None
    if checkpoint is not None:
        table = load_margins(str(checkpoint))
        margins = Margins(Path(str(checkpoint)), table, summarize_margins(table))
    curves = None if logs is None else (Path(str(logs)), read_logs(str(logs)))
    heading = None if title is None else str(title)
    if format == "json":
        text = json_summary(models, margins, curves, heading)
    else:
        page = build_report(models, margins, curves, heading)
        text = html_page(page) if format == "html" else markdown(page)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "x", encoding="utf-8") as stream:
        stream.write(text)
    print(f"Written to {file}")


def _named(models: Sequence[Results], names: str | Sequence[str] | None) -> Sequence[Results]:
    """The models, each with its own name of those that the option gives."""
    if names is None:
        return models
    given = [str(name).strip() for name in (names if isinstance(names, (list, tuple)) else str(names).split(","))]
    if len(given) != len(models) or len(set(given)) != len(given) or "" in given:
        raise ValueError(f"Got names {', '.join(given)} for {len(models)} results, expected a different one for each.")
    return [one.named(name) for one, name in zip(models, given, strict=True)]


def _paths(results: str | Sequence[str]) -> list[str]:
    """The paths that the option names: one, several separated by commas, or a sequence of them."""
    if not isinstance(results, (list, tuple)):
        text = str(results)
        results = [text] if Path(text).exists() else [one.strip() for one in text.split(",") if one.strip()]
    if not results:
        raise ValueError("Got no results, expected at least one results.json or its folder.")
    return [str(one) for one in results]
