"""``report --format latex``: LaTeX that compiles, vector figures with their fonts, every score, references."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import REPO
from paper_results import NASTY, other, perturbation, read, unattacked
from report_results import LEVELS, classification, segmentation, write
from scipy.stats import binomtest
from shell_commands import documented_commands, shell

from monai_ima.__main__ import main
from monai_ima.cli.report import report
from monai_ima.paper import write_pack
from monai_ima.paper.latex import escape

FILES = ["methods.md", "methods.tex", "paper.tex", "references.bib", "results.csv", "tables.tex"]
SVG = "{http://www.w3.org/2000/svg}"


def compiled(folder: Path, file: str = "paper.tex") -> tuple[str, str]:
    """The log of a LaTeX document and the text of its pages, where a TeX is installed."""
    name = Path(file).stem
    if shutil.which("pdflatex"):
        run = [["pdflatex", "-interaction=nonstopmode", "-halt-on-error", file]]
        commands = [*run, *([["bibtex", name]] if (folder / "references.bib").exists() else []), *run, *run]
    elif shutil.which("tectonic"):
        commands = [["tectonic", "--keep-logs", file]]
    else:
        missing = "Neither pdflatex nor tectonic is installed: apt-get install texlive-latex-recommended"
        if os.environ.get("MONAI_IMA_NEEDS_TEX"):
            pytest.fail(missing)
        pytest.skip(missing)
    for command in commands:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
    text = ""
    if shutil.which("pdftotext"):
        text = subprocess.run(
            ["pdftotext", "-layout", f"{name}.pdf", "-"], cwd=folder, capture_output=True, text=True
        ).stdout
    return (folder / f"{name}.log").read_text(encoding="latin-1"), text


def rows_of(text: str, label: str) -> list[list[str]]:
    """The cells of the table of a label, without its heads."""
    (table,) = [part for part in text.split(r"\begin{table}") if rf"\label{{tab:{label}}}" in part]
    return [line.removesuffix(r" \\").split(" & ") for line in table.splitlines() if re.match(r"[\d.]+ &", line)]


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Path:
    """The pack of two models with everything measured."""
    folder = tmp_path_factory.mktemp("paper")
    plain, hardened = classification(perturbations=[perturbation()]), other(perturbations=[perturbation()])
    folders = [write(folder / name, one).parent for name, one in (("a", plain), ("b", hardened))]
    options = {"format": "latex", "figures": "pdf,svg", "names": "plain,hardened", "trained": "plain,ima"}
    report(list(map(str, folders)), out=str(folder / "pack"), **options)
    return folder / "pack"


class TestFiles:
    def test_all_are_there(self, pack):
        found = sorted(str(file.relative_to(pack)) for file in pack.rglob("*.*"))
        drawn = [f"figures/{name}.{kind}" for name in ("perturbations", "robustness") for kind in ("pdf", "svg")]
        assert found == [*drawn, *FILES]

    def test_beside_the_results_with_pdf_by_default(self, tmp_path, capsys):
        write(tmp_path, classification())
        assert main(["report", "--results", str(tmp_path), "--format", "latex"]) == 0
        assert (
            capsys.readouterr().out
            == f"Written to {tmp_path / 'paper'}: {', '.join(['figures/robustness.pdf', *FILES])}\n"
        )

    def test_nothing_is_written_over(self, pack, capsys):
        before = (pack / "tables.tex").read_bytes()
        arguments = ["report", "--results", str(pack.parent / "a"), "--format", "latex", "--out", str(pack)]
        assert main(arguments) == 2
        assert capsys.readouterr().err.strip() == f"Folder {pack} exists and is not written over: give another --out."
        assert (pack / "tables.tex").read_bytes() == before

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--format", "latex", "--figures", "png"], "Unknown figures 'png', expected 'pdf' or 'svg'."),
            (["--format", "latex", "--trained", "foo"], "Got the training 'foo', expected one of plain, ima, pgd,"),
            (["--format", "latex", "--trained", "ima,pgd"], "Got 2 trainings for 1 results, expected one for each."),
            (["--figures", "pdf"], "Option --figures is of no use for --format html, expected it with latex only."),
            (
                ["--format", "csv", "--logs", "l"],
                "Option --logs is of no use for --format csv, expected it with html or md or json only.",
            ),
            (["--format", "docx"], "Unknown format 'docx', expected 'html' or 'md' or 'json' or 'csv' or 'latex'."),
        ],
    )
    def test_what_cannot_be_done_is_refused_in_one_line(self, tmp_path, capsys, options, message):
        write(tmp_path, classification())
        assert main(["report", "--results", str(tmp_path), *options]) == 2
        error = capsys.readouterr().err.strip()
        assert error.startswith(message)
        assert "\n" not in error
        assert not (tmp_path / "paper").exists()

    def test_models_on_other_samples_are_not_compared_and_it_is_said(self, tmp_path, capsys):
        few = other()
        few["samples"] = few["samples"][:9]
        few["data"]["samples"] = 9
        few["minimum"]["found"] = 7
        for name, content in (("a", classification()), ("b", few)):
            write(tmp_path / name, content)
        report(f"{tmp_path}/a,{tmp_path}/b", format="latex", out=str(tmp_path / "pack"))
        assert "The models are not compared pair by pair: Sample 's9' is in " in capsys.readouterr().out
        assert "tab:differences" not in (tmp_path / "pack" / "tables.tex").read_text()
        assert "Holm" not in (tmp_path / "pack" / "methods.md").read_text()


class TestLaTeX:
    def test_the_pack_compiles_alone(self, pack, tmp_path):
        log, text = compiled(Path(shutil.copytree(pack, tmp_path / "pack")))
        assert "Overfull" not in log
        assert "undefined" not in log
        assert "multiply defined" not in log
        if text:
            for shown in ("0.400 [0.120, 0.710]", "0.600 [0.310, 0.830]", "arXiv:2005.09147", "Figure 2"):
                assert shown in text

    def test_results_refer_to_every_table_and_figure_which_stand_before_the_references(self, pack, tmp_path):
        text = (pack / "paper.tex").read_text()
        labels = re.findall(r"\\label\{(.*)\}", (pack / "tables.tex").read_text() + text)
        between = text.partition(r"\section*{Results}")[2].partition(r"\input{tables}")[0]
        assert sorted(re.findall(r"\\ref\{(.*?)\}", between)) == sorted(labels)
        assert len(labels) == len(set(labels)) == 8
        _, shown = compiled(Path(shutil.copytree(pack, tmp_path / "pack")))
        if shown:
            words = " ".join(shown.split())
            assert "Results Table 1 and Figure 1 show accuracy under attack at each ε. Tables 2 and 3 show" in words
            captions = [
                shown.index(f"{kind} {k}: ") for kind, most in (("Table", 6), ("Figure", 2)) for k in range(1, most + 1)
            ]
            assert max(captions) < shown.index("References") < shown.index("[1] ", shown.index("References"))
            assert shown[shown.rindex("\f", 0, shown.index("References")) :].split()[0] == "References"

    @pytest.mark.parametrize("count", [1, 5])
    def test_names_that_mean_something_to_latex_compile(self, tmp_path, count):
        """In every place that a name gets to; five models need several grids."""
        models = read(tmp_path, *[classification(perturbations=[perturbation(title=NASTY)])] * count)
        models = [one.named(f"{NASTY} {k}" if k else NASTY) for k, one in enumerate(models)]
        write_pack(models, tmp_path / "pack", title=NASTY)
        log, text = compiled(tmp_path / "pack")
        assert "undefined" not in log
        if text:
            assert r"50%_of {A}&B#1 \x $y$ " in text
            assert "U+626B" in text

    def test_a_segmentation_with_little_measured_compiles(self, tmp_path):
        write_pack(read(tmp_path, segmentation()), tmp_path / "pack", figures=("svg",))
        log, _ = compiled(tmp_path / "pack")
        assert "Overfull" not in log
        assert "includegraphics" not in (tmp_path / "pack" / "paper.tex").read_text()

    def test_many_perturbations_fit_on_pages(self, tmp_path):
        many = [perturbation(f"p{k}", f"change {k}", torchio=True) for k in range(12)]
        models = read(tmp_path, classification(perturbations=many), other(perturbations=many))
        write_pack(models, tmp_path / "pack")
        text = (tmp_path / "pack" / "tables.tex").read_text()
        tables = [part for part in text.split(r"\begin{table}") if "{tab:perturbations-" in part]
        assert len(tables) == 6
        for case in ("size, worst case", "size, average case", "size, TorchIO"):
            assert all(table.count(case) == 1 for table in tables)
        assert re.findall(r"Change (\d+), ", text) == [
            str(k) for page in range(6) for k in (2 * page, 2 * page + 1) * 3
        ]
        drawn = sorted(file.name for file in (tmp_path / "pack" / "figures").iterdir())
        assert drawn == ["perturbations-1.pdf", "perturbations-2.pdf", "robustness.pdf"]
        log, _ = compiled(tmp_path / "pack")
        assert "Overfull" not in log
        assert "Float too large" not in log

    def test_every_printable_character_compiles(self, tmp_path):
        latin = "".join(map(chr, range(0x20, 0x7F))) + "".join(map(chr, range(0xA0, 0x180)))
        greek = "".join(map(chr, range(0x391, 0x3CA)))
        marks = "–—‘’“”…−×·±°µ²³≤≥∞→√ L2 L∞ ?`!`,,<<>>"
        lines = [rf"a {escape(character)} b\\" for character in [*latin, *greek, *marks]]
        document = [r"\documentclass{article}\usepackage[utf8]{inputenc}\begin{document}", *lines, r"\end{document}"]
        (tmp_path / "all.tex").write_text("\n".join(document), encoding="utf-8")
        log, text = compiled(tmp_path, "all.tex")
        assert "Missing character" not in log
        if text:
            for character in "\\{}$&#%|<>[]±∞":
                assert re.search(rf"a *{re.escape(character)} *b", text), character

    def test_the_tables_hold_the_numbers_of_the_results(self, pack):
        text = (pack / "tables.tex").read_text()
        assert rows_of(text, "robustness") == [
            ["0", "0", "0.900 [0.700, 1.000]", "0.900 [0.700, 1.000]"],
            ["0.5", "0.25", "0.700 [0.410, 0.960]", "0.900 [0.410, 0.960]"],
            ["1", "0.5", "0.400 [0.120, 0.710]", "0.700 [0.120, 0.710]"],
            ["2", "1", "0.200 [0.020, 0.520]", "0.400 [0.020, 0.520]"],
        ], "ε = 1 is 20 HU / sqrt(1600) = 0.5 HU a pixel"
        assert rows_of(text, "attacks-1")[2][2:] == ["0.600 [0.310, 0.870]", "0.400 [0.120, 0.710]"]
        rows = rows_of(text, "perturbations")
        worst, average = (
            ["0.900 [0.600, 0.980]", "0.600 [0.310, 0.830]", "0.200 [0.060, 0.510]"],
            "0.750 [0.700, 0.800]",
        )
        assert [row[1] for row in rows[:3]] == worst
        assert rows[4] == ["10", average, average]
        assert r"plain & 9 & 7 & 2 & 1 \\" in text, "7 of 9 correct samples were found up to ε = 2, median 1"

    def test_models_stand_beside_each_other_in_each_case(self, tmp_path):
        """TorchIO was measured for the second model and the first change alone."""
        hardened = [perturbation(torchio=True), perturbation("gain", "gain")]
        hardened[0]["worst"] = {"values": [0.9, 0.8, 0.7], "intervals": [None] * 3}
        models = read(tmp_path, classification(perturbations=[perturbation()]), other(perturbations=hardened))
        write_pack([models[0].named("plain"), models[1].named("hardened")], tmp_path / "pack")
        text = (tmp_path / "pack" / "tables.tex").read_text()
        grids = text.partition("{tab:perturbations}")[2].split(r"\begin{tabular}")[1:]
        assert [re.findall(r"^.*(?:plain|hardened).*$", grid, re.MULTILINE) for grid in grids] == [
            [rf"size, {case} & plain & hardened \\"] for case in ("worst case", "average case", "TorchIO")
        ]
        assert [re.findall(r"\{l\}\{(.*?),", grid) for grid in grids] == [["Bias field", "Gain"]] * 2 + [["Bias field"]]
        assert r"10 & 0.600 [0.310, 0.830] & 0.800 \\" in grids[0]
        assert r"10 & -- & 0.600 [0.310, 0.830] \\" in grids[0]
        assert r"10 & 0.750 [0.700, 0.800] & 0.750 [0.700, 0.800] \\" in grids[1]
        assert r"10 & -- & 0.750 [0.700, 0.800] \\" in grids[2]

    def test_cases_of_one_model_stand_beside_each_other(self, tmp_path):
        write_pack(read(tmp_path, classification(perturbations=[perturbation()])), tmp_path / "pack")
        text = (tmp_path / "pack" / "tables.tex").read_text()
        assert r"size & worst case & average case \\" in text
        assert r"10 & 0.600 [0.310, 0.830] & 0.750 [0.700, 0.800] \\" in text

    @pytest.mark.parametrize("count", [2, 3, 7])
    def test_heads_are_broken_only_where_the_page_is_too_narrow(self, tmp_path, count):
        models = read(tmp_path, *[classification(perturbations=[perturbation(torchio=True)])] * count)
        names = [f"Increasing margins, seed {k}" for k in range(count)]
        write_pack([one.named(name) for one, name in zip(models, names, strict=True)], tmp_path / "pack")
        table = (tmp_path / "pack" / "tables.tex").read_text().partition(r"\label{tab:robustness}")[2]
        assert (rf"& {names[0]} & {names[1]} \\" in table.partition(r"\end{table}")[0]) == (count == 2)
        log, _ = compiled(tmp_path / "pack")
        assert "Overfull" not in log
        assert "Float too large" not in log

    def test_paired_differences_are_those_of_an_independent_test(self, tmp_path):
        """Without patients McNemar's: 0, 2, 3 and 2 samples are right in the second model alone, none in the first."""
        contents = classification(), other()
        for content in contents:
            content["data"]["patients"] = None
            for sample in content["samples"]:
                sample["patient"] = None
        write_pack(read(tmp_path, *contents), tmp_path / "pack")
        rows = rows_of((tmp_path / "pack" / "tables.tex").read_text(), "differences")
        right = [[0.9, 0.7, 0.4, 0.2], [0.9, 0.9, 0.7, 0.4]]
        assert [row[1:3] for row in rows] == [[f"{one:.3f}", f"{two:.3f}"] for one, two in zip(*right, strict=True)]
        assert [row[3].split()[0] for row in rows] == ["0.000", "+0.200", "+0.300", "+0.200"]
        p = [1.0, *(binomtest(alone, alone).pvalue for alone in (2, 3, 2))]
        assert p == [1.0, 0.5, 0.25, 0.5]
        assert [row[4] for row in rows] == [f"{value:.3f}" for value in p]
        assert [row[5] for row in rows] == ["1.000"] * 4, "0.25 * 4, and no later one is smaller"

    def test_of_few_patients_the_caption_says_that_there_are_no_intervals_and_p_values(self, pack):
        """Of the five patients of the pack; a bootstrap of them is not made."""
        text = (pack / "tables.tex").read_text()
        (table,) = [part for part in text.split(r"\begin{table}") if "tab:differences" in part]
        assert "Fewer than 10 patients are too few for intervals and p-values." in table
        assert not re.search("bootstrap|Holm|bracket", table)
        assert r"0.5 & 0.700 & 0.900 & +0.200 \\" in table

    def test_of_few_samples_without_patients_there_are_p_values_alone(self):
        from monai_ima.paper.tables import _certainty
        from monai_ima.results.paired import PairedDifference

        common = {"level": 0.0, "first": 0.5, "second": 0.5, "difference": 0.0, "samples": 8, "groups": 8}
        tested = {"p_value": 1.0, "p_adjusted": 1.0, "test": "exact McNemar"}
        known = PairedDifference(**common, **tested, low=-0.1, high=0.1)
        few = PairedDifference(**common, **tested, low=None, high=None)
        end = "are from the exact McNemar test; the last column is adjusted by Holm’s method over all rows."
        assert _certainty([known], "samples") == f", with 95 % intervals in brackets. The p-values {end}"
        assert _certainty([few], "samples") == f". The p-values {end} Fewer than 10 samples are too few for intervals."

    def test_nothing_is_said_to_be_attacked_that_was_not(self, tmp_path):
        models = read(tmp_path, unattacked(), unattacked())
        write_pack([one.named(name) for one, name in zip(models, "AB", strict=True)], tmp_path / "pack")
        assert sorted(file.name for file in (tmp_path / "pack").rglob("*")) == FILES, "no figure of a single point"
        text = (tmp_path / "pack" / "tables.tex").read_text()
        assert r"\caption{Accuracy without any attack on 10 synthetic samples from 5 simulated patients.}" in text
        assert "model & accuracy \\\\\n\\midrule\nA & 0.900 \\\\\nB & 0.900 \\\\\n" in text
        assert re.findall(r"\\label\{(.*)\}", text) == ["tab:robustness", "tab:differences"]
        assert "strongest" not in text
        log, _ = compiled(tmp_path / "pack")
        assert "undefined" not in log
        assert "Overfull" not in log

    def test_tiny_p_values_and_minus_signs(self):
        from monai_ima.paper.tables import _signed
        from monai_ima.report.wording import p_value

        assert (p_value(0.0004), p_value(0.001), p_value(None)) == ("< 0.001", "0.001", "–")
        assert (_signed(-0.0101), _signed(0.0004), _signed(-0.0004)) == ("−0.010", "0.000", "0.000")


class TestFigures:
    @pytest.mark.parametrize("name", ["robustness", "perturbations"])
    def test_pdf_is_vectors_with_its_fonts(self, pack, name):
        content = (pack / "figures" / f"{name}.pdf").read_bytes()
        assert content.startswith(b"%PDF-")
        fonts = re.findall(rb"/Type /FontDescriptor.*?endobj|/FontDescriptor\b.*?endobj", content, re.DOTALL)
        assert fonts
        assert len(re.findall(rb"/FontFile2 \d+ 0 R", content)) == content.count(b"/Type /FontDescriptor") > 0
        assert not re.search(rb"/Subtype\s*/(Image|Type3)\b", content)

    @pytest.mark.parametrize("name", ["robustness", "perturbations"])
    def test_svg_is_shapes_alone(self, pack, name):
        root = ElementTree.parse(pack / "figures" / f"{name}.svg").getroot()
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert "path" in tags
        assert not tags & {"image", "text", "tspan", "foreignObject"}

    def test_the_curves_are_those_of_the_results(self, tmp_path):
        from monai_ima.paper.figures import paper_figures

        figures = paper_figures(read(tmp_path, classification(perturbations=[perturbation()]), other()))
        lines = figures["robustness"].axes[0].lines
        assert [list(line.get_xdata()) for line in lines] == [LEVELS, LEVELS]
        assert [list(line.get_ydata()) for line in lines] == [[0.9, 0.7, 0.4, 0.2], [0.9, 0.9, 0.7, 0.4]]
        worst, average = figures["perturbations"].axes[0].lines
        assert list(worst.get_ydata()) == [0.9, 0.6, 0.2]
        assert list(average.get_ydata()) == [0.9, 0.75, 0.5]
        one = paper_figures(read(tmp_path / "one", classification()))
        assert len(one["robustness"].axes[0].lines) == 2, "of one model a line for each attack"
        assert list(one) == ["robustness"]

    @pytest.mark.parametrize("known", [False, True])
    def test_captions_speak_of_bands_only_where_there_are_any(self, tmp_path, known):
        change = perturbation()
        content = classification(perturbations=[change])
        for curve in [*content["attacks"], change["worst"]]:
            curve["intervals"] = curve["intervals"] if known else [None] * len(curve["intervals"])
        write_pack(read(tmp_path, content), tmp_path / "pack")
        text = (tmp_path / "pack" / "paper.tex").read_text()
        assert (
            re.findall(r"Bands: (.*)\}", text) == [r"95~\% intervals.", r"95~\% intervals of the worst case."] * known
        )
        tables = (tmp_path / "pack" / "tables.tex").read_text()
        robust, perturbed = (re.findall(r"caption\{(.*)\}", tables)[k] for k in (0, -1))
        assert ("brackets" in robust) == known
        assert perturbed.endswith("in brackets." if known else "in brackets where there are enough patients for them.")

    def test_equal_results_give_equal_files(self, pack, tmp_path):
        models = read(tmp_path, classification(perturbations=[perturbation()]), other(perturbations=[perturbation()]))
        models = [one.named(name) for one, name in zip(models, ("plain", "hardened"), strict=True)]
        write_pack(models, tmp_path / "again", figures=("pdf", "svg"))
        for file in pack.glob("figures/*"):
            assert (tmp_path / "again" / "figures" / file.name).read_bytes() == file.read_bytes(), file.name


class TestScores:
    def test_every_score_is_a_row(self, pack):
        with open(pack / "results.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = ["model", "sample_id", "patient", "group", "perturbation", "unit", "attack", "epsilon", "score"]
        assert list(rows[0]) == names
        assert len(rows) == 2 * 10 * (2 * 4 + 2 * 3)
        assert len({tuple(row[name] for name in names[:-1]) for row in rows}) == len(rows)
        sums = defaultdict(list)
        for row in rows:
            sums[tuple(row[name] for name in ("model", "perturbation", "unit", "attack"))].append(row)
        means = {
            key: [sum(float(r["score"]) for r in part if float(r["epsilon"]) == eps) / 10 for eps in sizes]
            for key, part in sums.items()
            for sizes in [sorted({float(r["epsilon"]) for r in part})]
        }
        expected = {
            ("plain", "additive", "l2", "pgd100x2"): [0.9, 0.8, 0.6, 0.3],
            ("plain", "additive", "l2", "apgd100-dlr"): [0.9, 0.7, 0.4, 0.2],
            ("hardened", "additive", "l2", "pgd100x2"): [0.9, 0.9, 0.8, 0.6],
            ("hardened", "additive", "l2", "apgd100-dlr"): [0.9, 0.9, 0.7, 0.4],
            **{(name, "bias_field", "%", "worst"): [0.9, 0.6, 0.2] for name in ("plain", "hardened")},
            **{(name, "bias_field", "%", "average"): [0.9, 0.75, 0.5] for name in ("plain", "hardened")},
        }
        assert {key: pytest.approx(value) for key, value in expected.items()} == means
        assert {(r["sample_id"], r["patient"], r["group"]) for r in rows} == {
            (f"s{k}", f"p{k // 2}", "A" if k < 4 else "B") for k in range(10)
        }

    def test_pandas_reads_them_and_alone_too(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        content = segmentation()
        content["samples"][0]["sample_id"] = 'a,"b"\nc'
        write(tmp_path, content)
        assert main(["report", "--results", str(tmp_path), "--format", "csv", "--names", "x"]) == 0
        table = pandas.read_csv(tmp_path / "report.csv")
        assert list(table["sample_id"].unique()) == ['a,"b"\nc', "scan1"]
        assert table["patient"].isna().all()
        assert (table["score"] == 0.8).all()
        assert set(table["model"]) == {"x"}


def test_the_commands_of_the_documentation_write_what_it_says(tmp_path):
    page = REPO / "docs" / "howto" / "paper.md"
    write(tmp_path / "plain", classification(perturbations=[perturbation()]))
    write(tmp_path / "hardened", other(perturbations=[perturbation()]))
    commands = documented_commands(page)
    assert len(commands) == 2
    for command in commands:
        assert "are not compared" not in shell(command, tmp_path)
    first_cells = " ".join(re.findall(r"^\| (`[^|]*) \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    listed = re.findall(r"`([^`]+)`", first_cells)
    header = (tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines()[0].split(",")
    assert listed[-len(header) :] == header
    assert sorted(name for name in listed if "." in name) == FILES
    assert (tmp_path / "scores.csv").read_bytes() == (tmp_path / "paper" / "results.csv").read_bytes()
