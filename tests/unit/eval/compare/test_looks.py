"""The report as a browser shows it: on a telephone, in the dark, printed; skipped by name where none is installed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval.compare.report import compare
from tests.browser import Page, browser
from tests.unit.eval.compare.experiments import hostile_experiment

FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
COLOURS = "[getComputedStyle({0}).color, getComputedStyle({0}).backgroundColor].join(' ')"


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an experiment with long names and texts without a space."""
    folder = hostile_experiment(tmp_path_factory.mktemp("looks"))
    return compare([folder], folder)


def contrast(page: Page, element: str) -> tuple[float, float]:
    """The contrast of text on its ground by WCAG 2, and the ground's luminance."""
    ink, paper = (
        luminance([int(each) for each in re.findall(r"\d+", colour)])
        for colour in page.evaluate(COLOURS.format(element)).split(") ")
    )
    lighter, darker = max(ink, paper), min(ink, paper)
    return (lighter + 0.05) / (darker + 0.05), paper


def luminance(colour: list[int]) -> float:
    linear = [each / 255 / 12.92 if each <= 10 else ((each / 255 + 0.055) / 1.055) ** 2.4 for each in colour[:3]]
    return sum(weight * each for weight, each in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_the_page_never_scrolls_sideways_and_tables_do(page: Page, report: Path, width: int):
    page.prefer()
    page.open(report, width=width)
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(FITS)
    if width == 360:
        wide = "[...document.querySelectorAll('.scroll')].some(each => each.scrollWidth > each.clientWidth)"
        assert page.evaluate(wide), "no table is wider than the page: the test tests nothing"


def test_the_instrument_sees_a_page_that_scrolls_sideways(page: Page, tmp_path: Path):
    viewport = '<meta name="viewport" content="width=device-width">'
    (tmp_path / "wide.html").write_text(f"<!DOCTYPE html>{viewport}<div style='width: 900px'>wide</div>")
    page.open(tmp_path / "wide.html", width=360)
    assert not page.evaluate(FITS)


def test_it_is_dark_for_those_who_prefer_that_and_readable_in_both(page: Page, report: Path):
    page.open(report)
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        ratio, paper = contrast(page, "document.body")
        assert ratio >= 7
        assert paper > 0.9 if scheme == "light" else paper < 0.05
        assert contrast(page, "document.querySelector('mark')")[0] >= 4.5


def test_it_is_printed_black_on_white_with_whole_tables(page: Page, report: Path):
    page.open(report, width=720)
    page.prefer("dark", media="print")
    assert contrast(page, "document.body")[1] > 0.9
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert page.evaluate(FITS)


def test_its_style_and_figures_pass_its_own_policy_and_no_script_runs(page: Page, report: Path):
    page.prefer()
    page.open(report)
    assert page.evaluate("document.title") == "Experiment embedded"
    assert page.evaluate("getComputedStyle(document.body).maxWidth") == "1152px"
    sizes = page.evaluate("[...document.images].map(each => each.naturalWidth)")
    assert sizes
    assert min(sizes) > 100
    assert (
        page.evaluate("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length") == 0
    )
