"""What models and tools wrote stays text in the report, however long or hostile, and differences in it are marked."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from eval.compare.report import compare
from eval.compare.sections.samples import marked
from tests.unit.eval.compare.experiments import (
    EVIL,
    hostile_experiment,
    trajectory,
    write_cell,
    write_manifest,
    write_rollout,
)


class Page(HTMLParser):
    """What a parser makes of the file: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


def test_differences_are_marked_on_the_side_that_has_them(tmp_path: Path):
    ours, theirs = marked("call price of it, done", "call weight of it, done, really")
    assert ours == [("call ", False), ("price ", True), ("of it, ", False), ("done", True)]
    assert theirs == [("call ", False), ("weight ", True), ("of it, ", False), ("done, really", True)]
    page = compare([hostile_experiment(tmp_path)], tmp_path).read_text("utf-8")
    assert "Thought: <mark>I look the price up of thing " in page
    assert "<mark>Thought: " not in page


@given(st.text("ab \n", max_size=80), st.text("ab \n", max_size=80))
def test_pieces_join_to_the_texts_and_the_unmarked_ones_are_common(first: str, second: str):
    pieces = marked(first, second)
    assert ["".join(text for text, _ in each) for each in pieces] == [first, second]
    common = ["".join(text for text, differs in each if not differs) for each in pieces]
    assert common[0] == common[1]


@pytest.mark.timeout(20)
def test_a_collapsed_text_is_compared_in_a_moment():
    assert marked("the " * 1000, "the " * 1000)[0] == [("the " * 1000, False)]
    ours, theirs = marked("the " * 100_000, "the that " * 100_000)
    assert len("".join(text for text, _ in ours)) == 400_000
    assert len("".join(text for text, _ in theirs)) == 900_000


def test_what_models_wrote_stays_text_in_html(tmp_path: Path):
    page = Page(compare([hostile_experiment(tmp_path)], tmp_path).read_text("utf-8"))
    assert not page.tags & {"script", "iframe", "object", "embed", "form", "link", "base", "svg"}
    assert all(not name.startswith("on") and name != "style" for name, _ in page.attributes)
    links = [value or "" for name, value in page.attributes if name in ("href", "src", "action", "srcset")]
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert '<script>document.title = "pwned"</script>' in page.text
    assert "⟨U+202E⟩gnp.exe⟨U+202C⟩ ⟨U+0000⟩⟨U+001B⟩[31m" in page.text
    assert not set(page.text) & set("\u202e\u202c\x00\x1b")
    policies = [value or "" for name, value in page.attributes if name == "content" and "default-src" in (value or "")]
    assert re.fullmatch(r"default-src 'none'; style-src 'sha256-\S+'; img-src data:; [\w' ;-]+", policies[0])


def test_what_models_wrote_stays_text_in_markdown(tmp_path: Path):
    compare([hostile_experiment(tmp_path)], tmp_path)
    text = (tmp_path / "report.md").read_text("utf-8")
    page = Page(MarkdownIt("commonmark", {"html": True}).enable("table").render(text))
    assert page.tags <= {
        "h1", "h2", "h3", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "pre", "code", "img", "em",
    }  # fmt: skip
    assert {value for name, value in page.attributes if name == "src"} >= {"figures/success.png"}
    assert all(name in ("src", "alt", "class", "style") for name, _ in page.attributes)
    assert "<script>document.title" in page.text


def test_a_completion_of_ten_megabytes_is_cut_with_a_note(tmp_path: Path):
    cells = [write_cell(tmp_path, "A-s1", [], 0.4), write_cell(tmp_path, "D-s1", [True] * 3, 0.3)]
    long = "\nThought: " + EVIL[:20] + "x" * 10_000_000
    write_rollout(tmp_path / "episodes/A-s1/unseen_tool", [trajectory(0, False, text=long)])
    file = compare([write_manifest(tmp_path, cells)], tmp_path)
    assert "[cut: 10,000,029 characters in all]" in file.read_text("utf-8")
    assert file.stat().st_size < 1_000_000
    assert (tmp_path / "report.md").stat().st_size < 100_000
