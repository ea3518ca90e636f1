"""A small article that takes in the files of a pack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.figure import Figure

from monai_ima.report.wording import INTERVALS, attacked, capitalised, metric_name
from monai_ima.results.schema import Results

from .figures import banded
from .latex import escape
from .prose import changes, joined, samples

__all__ = ["article"]

PAPER = r"""\documentclass{article}
\usepackage[utf8]{inputenc}
\usepackage{booktabs,graphicx}
\emergencystretch=3em
\title{@TITLE@}
\author{}
\date{}
\begin{document}
\maketitle
\section*{Methods}
\input{methods}
\section*{Results}
@RESULTS@

\input{tables}
@FIGURES@\clearpage
\bibliographystyle{unsrt}
\bibliography{references}
\end{document}
"""
FIGURE = r"""\begin{figure}[!htbp]
\centering
\includegraphics[width=@WIDTH@\linewidth]{figures/@NAME@.pdf}
\caption{@CAPTION@}
\label{fig:@NAME@}
\end{figure}
"""
WIDTHS = {"robustness": "0.6", "perturbations": ""}
TOPICS = ("robustness", "attacks", "differences", "minimum", "perturbations")
"""What names of tables and figures begin with, before their number."""


def article(title: str, models: Sequence[Results], tables: Sequence[str], figures: Mapping[str, Figure]) -> str:
    """The document, in LaTeX.

    Args:
        title: as plain text.
        models: of one metric.
        tables: labels of all that ``tables.tex`` holds, ``tab:robustness``.
        figures: those to show, by the names of their files.
    """
    return (
        PAPER.replace("@RESULTS@", "\n".join(_sentences(models, tables, [f"fig:{name}" for name in figures])))
        .replace("@FIGURES@", "".join(_float(models, name, figure) for name, figure in figures.items()))
        .replace("@TITLE@", escape(title))
    )


def _sentences(models: Sequence[Results], tables: Sequence[str], figures: Sequence[str]) -> Iterator[str]:
    """What each table and figure shows, in the order of the tables."""
    metric = metric_name(models[0])
    shown = {
        "robustness": f"{metric} {'under attack at each ε' if any(map(attacked, models)) else 'without any attack'}",
        "attacks": f"{metric} after each attack",
        "differences": f"the differences of {metric} from {models[0].label} on the same samples",
        "minimum": "the smallest perturbations that change a correct prediction",
        "perturbations": f"{metric} under {changes(models[0].metric)}",
    }
    for topic in TOPICS:
        groups = [("Table", _of(topic, tables)), ("Figure", _of(topic, figures))]
        subject = joined([_referred(kind, labels) for kind, labels in groups if labels] or [""])
        if subject:
            several = sum(len(labels) for _, labels in groups) > 1
            yield f"{subject} {'show' if several else 'shows'} {escape(shown[topic])}."


def _of(topic: str, labels: Sequence[str]) -> list[str]:
    return [label for label in labels if label.partition(":")[2].partition("-")[0] == topic]


def _referred(kind: str, labels: Sequence[str]) -> str:
    if len(labels) == 1:
        return rf"{kind}~\ref{{{labels[0]}}}"
    return f"{kind}s~" + joined([rf"\ref{{{label}}}" for label in labels])


def _float(models: Sequence[Results], name: str, figure: Figure) -> str:
    kind = name.partition("-")[0]
    return (
        FIGURE.replace("@WIDTH@", WIDTHS[kind])
        .replace("@NAME@", name)
        .replace("@CAPTION@", escape(_caption(models, kind, banded(figure))))
    )


def _caption(models: Sequence[Results], kind: str, bands: bool) -> str:
    metric = capitalised(metric_name(models[0]))
    robust = kind == "robustness"
    what = "at rising perturbation budget ε" if robust else f"under {changes(models[0].metric)}"
    whom = joined(list(dict.fromkeys(samples(one.data) for one in models)))
    shown = f" Bands: {INTERVALS}{'' if robust else ' of the worst case'}." if bands else ""
    return f"{metric} {what}, on {whom}.{shown}"
