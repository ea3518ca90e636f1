"""The report's page in a real browser: the verdict is on the first screen, everything is there, readable, and nothing
is loaded; printed it is short.
"""

from __future__ import annotations

import importlib.util
import io
import os
import re
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from PIL import Image
from report_results import classification, perturbed, segmentation, write, write_margins
from torch.utils.tensorboard import SummaryWriter

from monai_ima.cli.report import report

START = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCHEMES = ("light", "dark")
WIDTHS = (390, 1280)

SCREENS = ((390, 844), (1280, 800))
PAGES = 8
OPEN_ALL = "() => document.querySelectorAll('details').forEach(one => one.open = true)"

SMALLEST_TEXT = """() => {
    const sizes = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const parent = walker.currentNode.parentElement;
        if (!walker.currentNode.data.trim() || parent.tagName === 'title' || !parent.getClientRects().length) continue;
        const matrix = parent instanceof SVGElement ? parent.getScreenCTM() : {a: 1, b: 0};
        const size = parseFloat(getComputedStyle(parent).fontSize) * Math.hypot(matrix.a, matrix.b);
        sizes.push([size, walker.currentNode.data]);
    }
    sizes.sort((one, other) => one[0] - other[0]);
    return {count: sizes.length, smallest: sizes[0]};
}"""

CUT_OFF = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    return [...svg.querySelectorAll('text')].filter(text => {
        const box = text.getBoundingClientRect();
        return box.left < frame.left - 1 || box.right > frame.right + 1
            || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
    }).map(text => text.textContent);
})"""

# Letters take the middle 70 % of the height of a line.
OVERLAPPING = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
    const corners = text => {
        const box = text.getBBox(), matrix = text.getScreenCTM();
        return [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => {
            const point = new DOMPoint(box.x + x * box.width, box.y + (0.15 + 0.7 * y) * box.height);
            const seen = point.matrixTransform(matrix);
            return [seen.x, seen.y];
        });
    };
    const apart = (one, other) => [one, other].some(sides => [0, 1].some(k => {
        const axis = [sides[k + 1][0] - sides[k][0], sides[k + 1][1] - sides[k][1]];
        const along = quad => quad.map(point => point[0] * axis[0] + point[1] * axis[1]);
        const [a, b] = [along(one), along(other)];
        return Math.max(...a) <= Math.min(...b) || Math.max(...b) <= Math.min(...a);
    }));
    const texts = [...svg.querySelectorAll('text')].filter(text => text.getClientRects().length);
    const quads = texts.map(corners);
    return texts.flatMap((text, k) => texts.slice(0, k).filter((_, n) => !apart(quads[k], quads[n]))
        .map(other => [svg.querySelector('title').textContent, other.textContent, text.textContent]));
})"""

SIDEWAYS = """() => [...document.querySelectorAll('.scroll')]
    .filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth)
    .map(one => one.getAttribute('aria-label'))"""

PAINTED = """() => [...document.querySelectorAll('svg, img')].map(figure => {
    const box = figure.getBoundingClientRect();
    return [figure.tagName, box.width, box.height, figure.tagName === 'IMG' ? figure.naturalWidth : 1];
})"""

FAINT_TEXT = """() => {
    const channel = value => (value /= 255) <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const numbers = color => color.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    return [...document.querySelectorAll('svg text')].flatMap(text => {
        let behind = text;
        while (getComputedStyle(behind).backgroundColor === 'rgba(0, 0, 0, 0)') behind = behind.parentElement;
        const pair = [getComputedStyle(text).fill, getComputedStyle(behind).backgroundColor].map(numbers).map(light);
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        return ratio >= 4.5 ? [] : [[text.textContent, ratio]];
    });
}"""


def browser_lacks() -> str | None:
    """What is missing to run these tests, in words."""
    if shutil.which("chromium") is None:
        return "no chromium here (Debian package chromium)"
    absent = [name for name in ("playwright", "axe_playwright_python") if importlib.util.find_spec(name) is None]
    return f"no {' and no '.join(absent)} here: pip install '.[browser]'" if absent else None


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Iterator[Any]:
    """A browser with a fresh profile."""
    missing = browser_lacks()
    if missing is not None:
        if os.environ.get("MONAI_IMA_NEEDS_BROWSER"):
            pytest.fail(missing)
        pytest.skip(missing)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("profile")),
            executable_path=shutil.which("chromium"),
            headless=True,
            args=START.split(),
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    """A report with everything: two models, a failed check, long and many names, margins and logs."""
    folder = tmp_path_factory.mktemp("report")
    first = classification(accuracy_by_class={f"class number {k} of ten": [1 - k / 10] * 4 for k in range(10)})
    first["model"]["checkpoint"] = f"models/{'a_very_long_name_of_weights_' * 4}.pt"
    second = classification(minimum=None, crosscheck=None)
    second["checks"][0]["status"] = "failed"
    second["model"]["sha256"] = "f" * 64
    write(folder / "first", first)
    write(folder / "second", second)
    checkpoint = write_margins(folder / "model_last.pt", [0.5 * k for k in range(9)])
    with SummaryWriter(str(folder / "logs")) as writer:
        for step in range(1, 301):
            writer.add_scalar("train_loss", 3 / step, step)
        for epoch in range(1, 5):
            for tag in ("val_accuracy", "val_robust_accuracy", "ima/margin_mean", "ima/boundary_fraction"):
                writer.add_scalar(tag, epoch / 5, epoch)
    report(
        [str(folder / "first"), str(folder / "second")],
        out=str(folder / "report.html"),
        checkpoint=str(checkpoint),
        logs=str(folder / "logs"),
    )
    return folder / "report.html"


@pytest.fixture(scope="module")
def decision_file(tmp_path_factory) -> Path:
    """A report as the demo writes it: SYNTHETIC data, perturbations, one model that was checked; one check failed."""
    folder = tmp_path_factory.mktemp("decision")
    changes = [
        ("speckle", "%", 20.0),
        ("bias field", "%", 20.0),
        ("contrast (gamma)", "%", 40.0),
        ("motion", "mm", 2.0),
    ]
    hardened = classification(perturbations=perturbed(changes, 0.75))
    hardened["checks"][0]["status"] = "failed"
    hardened["model"]["sha256"] = "f" * 64
    write(folder / "plain", classification(perturbations=perturbed(changes, 0.5), checks=None))
    write(folder / "hardened", hardened)
    file = folder / "report.html"
    report([str(folder / "plain"), str(folder / "hardened")], str(file), names=["plain training", "hardened"])
    return file


@pytest.fixture(scope="module")
def levels_file(tmp_path_factory) -> Path:
    """A report on classifiers with six and eleven ε that have no smallest perturbations: each ε has a bar."""
    folder = tmp_path_factory.mktemp("levels")
    for count in (6, 11):
        levels = [0.005 * k for k in range(count)]
        content = classification(levels=levels, minimum=None, accuracy=[0.5] * count, accuracy_by_class={}, cases=[])
        content |= dict.fromkeys(("units", "noise", "groups", "crosscheck"))
        for attack in content["attacks"]:
            attack |= {"values": [0.5] * count, "intervals": [[0.25, 0.75]] * count}
        for k, sample in enumerate(content["samples"]):
            sample["broken_at"] = dict.fromkeys(sample["broken_at"], levels[k % count])
            sample["distance"] = None
        write(folder / f"levels{count}", content)
    report([str(folder / "levels6"), str(folder / "levels11")], out=str(folder / "report.html"))
    return folder / "report.html"


@pytest.fixture
def page(context, page_file) -> Iterator[Any]:
    """The report in the browser, with what it asked for and complained about."""
    tab = context.new_page()
    tab.asked, tab.complaints = [], []
    tab.on("request", lambda request: tab.asked.append(request.url))
    tab.on("console", lambda message: tab.complaints.append(message.text))
    tab.on("pageerror", lambda error: tab.complaints.append(str(error)))
    tab.goto(page_file.as_uri())
    yield tab
    tab.close()


def test_nothing_is_loaded_and_nothing_goes_wrong(page, page_file):
    page.wait_for_timeout(200)
    assert [url for url in page.asked if not url.startswith("data:image/png;base64,")] == [page_file.as_uri()]
    assert page.complaints == []


def test_every_figure_is_painted(page):
    page.evaluate(OPEN_ALL)
    # The comparison; of each model attacks, classes (10: two charts; 3: one), distances, noise and groups; margins;
    # and of the logs margin, share, scores and loss.
    figures = page.evaluate(PAINTED)
    assert sum(tag == "svg" for tag, *_ in figures) == 1 + 6 + 5 + 1 + 4
    assert sum(tag == "IMG" for tag, *_ in figures) == 2 * 3
    assert all(width > 100 and height > 30 and natural > 0 for _, width, height, natural in figures)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_its_text_can_be_read(page, width, scheme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(OPEN_ALL)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    text = page.evaluate(SMALLEST_TEXT)
    assert text["count"] > 500
    assert text["smallest"][0] >= 9, text["smallest"]
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize(
    ("scheme", "folded", "width"),
    [*product(SCHEMES, [False], WIDTHS), *zip(SCHEMES, [True, True], WIDTHS, strict=True)],
)
def test_an_accessibility_checker_finds_nothing(page, scheme, folded, width):
    from axe_playwright_python.sync_playwright import Axe

    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    if not folded:
        page.evaluate(OPEN_ALL)
    found = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "best-practice"]}).response
    passed = {rule["id"] for rule in found["passes"]}
    assert {"color-contrast", "image-alt", "svg-img-alt"} <= passed
    assert [(rule["id"], [node["html"][:200] for node in rule["nodes"]]) for rule in found["violations"]] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_in_charts_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    assert page.evaluate(FAINT_TEXT) == []


def test_the_two_schemes_differ_and_print_is_light(page):
    ink = "getComputedStyle(document.querySelector('svg text')).fill"
    shades = []
    for media, scheme in (("screen", "light"), ("screen", "dark"), ("print", "dark")):
        page.emulate_media(media=media, color_scheme=scheme)
        shades.append(sum(map(int, page.evaluate(ink).removeprefix("rgb(").removesuffix(")").split(","))))
    light, dark, printed = shades
    assert light < 200 < 500 < dark
    assert printed < 200


def test_printed_pages_cut_no_chart(page):
    page.set_viewport_size({"width": 700, "height": 1000})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    assert page.evaluate(CUT_OFF) == []
    assert set(
        page.evaluate("[...document.querySelectorAll('figure')].map(one => getComputedStyle(one).breakInside)")
    ) == {"avoid"}


@pytest.mark.parametrize(("media", "width"), [("screen", 390), ("screen", 1280), ("print", 700)])
@pytest.mark.parametrize("which", ["page_file", "decision_file", "levels_file"])
def test_no_text_of_a_chart_lies_on_another(context, request, which, media, width):
    tab = context.new_page()
    tab.set_viewport_size({"width": width, "height": 900})
    tab.goto(request.getfixturevalue(which).as_uri())
    tab.evaluate(OPEN_ALL)
    tab.emulate_media(media=media)
    assert tab.evaluate("document.querySelectorAll('svg text').length") > 20
    assert tab.evaluate(OVERLAPPING) == []
    tab.close()


def test_overlapping_texts_would_be_found(context):
    tab = context.new_page()
    drawn = [("level", 0), ("level", 30), ("level", 90), ("turned", 0), ("turned", 18)]
    texts = "".join(
        f'<text x="{x}" y="{200 if kind == "level" else 400}"'
        f"{f' transform=&quot;rotate(-60 {x} 400)&quot;'.replace('&quot;', chr(34)) if kind == 'turned' else ''}>"
        f"{kind}{k}</text>"
        for k, (kind, x) in enumerate(drawn)
    )
    tab.set_content(f'<svg width="500" height="500" font-size="14"><title>t</title>{texts}</svg>')
    assert tab.evaluate(OVERLAPPING) == [["t", "level0", "level1"]]
    tab.close()


def test_small_tables_fit_a_phone(context, tmp_path):
    """Figures and differences of two models with a p-value and a size in a pixel."""
    for name in ("plain", "hardened"):
        content = classification(minimum=None, groups=None, noise=None)
        content["data"] |= {"samples": 12, "patients": 12}
        content["samples"] = [
            {**content["samples"][1], "sample_id": f"s{k}", "patient": f"p{k}", "distance": None}
            | {"broken_at": dict.fromkeys(("pgd100x2", "apgd100-dlr"), 0.5 if name == "plain" else None)}
            for k in range(12)
        ]
        write(tmp_path / name, content)
    report([str(tmp_path / "plain"), str(tmp_path / "hardened")], names=["plain training", "hardened"])
    tab = context.new_page()
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.goto((tmp_path / "plain" / "report.html").as_uri())
    heads = tab.evaluate("[...document.querySelectorAll('#differences th[scope=col]')].map(one => one.textContent)")
    assert heads[1] == "RMS a pixel, HU"
    assert heads[-3:] == ["difference", "p", "p by Holm"]
    assert tab.evaluate(SIDEWAYS) == []
    tab.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_table_that_goes_on_has_a_shadow_at_its_edge(context, page_file, tmp_path, scheme):
    """The first screen's table with six models more: its right edge has another colour until it is scrolled there."""
    folders = [tmp_path / f"model{k}" for k in range(7)]
    for folder in folders:
        write(folder, segmentation())
    names = [f"network {k}" for k in range(7)]
    report(list(map(str, folders)), out=str(tmp_path / "page.html"), names=names)
    tab = context.new_page()
    tab.set_viewport_size({"width": 390, "height": 844})
    tab.emulate_media(color_scheme=scheme)
    tab.goto((tmp_path / "page.html").as_uri())
    (first, *_) = tab.evaluate(SIDEWAYS)
    assert first.startswith("Dice under all attacks of each model")
    table = tab.locator(".scroll").first
    shades = []
    for go in ("one => one.scrollLeft = 0", "one => one.scrollLeft = one.scrollWidth"):
        table.evaluate(go)
        shot = Image.open(io.BytesIO(table.screenshot())).convert("L")
        edges = [shot.crop((x, 0, x + 2, shot.height)) for x in (0, shot.width - 2)]
        shades.append([median(edge.getdata()) for edge in edges])
    (left, right), (_, right_after) = shades
    assert abs(right - right_after) > 20
    assert left == right_after, "there the surface itself is seen"
    tab.close()


def test_a_short_report_on_a_segmentation_fits_too(context, tmp_path):
    write(tmp_path, segmentation())
    report(str(tmp_path))
    tab = context.new_page()
    tab.set_viewport_size({"width": 390, "height": 900})
    tab.goto((tmp_path / "report.html").as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    assert len(tab.evaluate(PAINTED)) == 2
    tab.close()


@pytest.mark.parametrize(("width", "height"), SCREENS)
@pytest.mark.parametrize("which", ["decision_file", "page_file"])
def test_the_first_screen_holds_the_whole_verdict(context, request, which, width, height):
    tab = context.new_page()
    tab.set_viewport_size({"width": width, "height": height})
    tab.goto(request.getfixturevalue(which).as_uri())
    ends = tab.evaluate("[...document.querySelectorAll('.verdict dd')].map(one => one.getBoundingClientRect().bottom)")
    assert len(ends) == 3
    assert max(ends) <= height
    order = tab.evaluate("[...document.querySelectorAll('.verdict, svg')].map(one => one.tagName)")
    assert order[:2] == ["DL", "svg"], "one figure comes next"
    tab.close()


@pytest.mark.parametrize(("width", "shown"), [(390, False), (1280, True)])
def test_contents_are_folded_on_phones(page, width, shown):
    page.set_viewport_size({"width": width, "height": 900})
    visible = (
        "[...document.querySelectorAll('nav a')].filter(one => one.checkVisibility({contentVisibilityAuto: true}))"
    )
    count = page.evaluate(f"{visible}.length")
    assert (count > 10) == shown
    if not shown:
        page.click("nav summary")
        assert page.evaluate(f"{visible}.length") > 10


def printed(context: Any, file: Path, out: Path) -> int:
    """Pages of the file as it is printed."""
    tab = context.new_page()
    tab.goto(file.as_uri())
    tab.pdf(path=str(out), prefer_css_page_size=True)
    tab.close()
    return len(re.findall(rb"/Type\s*/Page\b", out.read_bytes()))


@pytest.mark.parametrize("which", ["decision_file", "page_file"])
def test_printed_it_is_short(context, request, tmp_path, which):
    assert 1 < printed(context, request.getfixturevalue(which), tmp_path / "report.pdf") <= PAGES


def test_the_appendix_is_printed_on_request(context, tmp_path):
    for name in ("short", "long"):
        write(tmp_path / name, classification())
    report(str(tmp_path / "short"))
    report(str(tmp_path / "long"), appendix=True)
    pages = [printed(context, tmp_path / k / "report.html", tmp_path / f"{k}.pdf") for k in ("short", "long")]
    assert pages[0] < pages[1]
