"""Texts of others are shown whole or cut with a note, and nothing in them hides."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.visible_text import HIDING, one_line, visible


@given(st.text(st.characters(), max_size=60))
def test_nothing_that_is_shown_hides(text: str):
    shown = visible(text)
    assert not {unicodedata.category(each) for each in shown if each not in "\n\t"} & HIDING
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 🙂 \t\n", "plain é 漢 🙂 \t\n"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("a\x00\x1b[31m\r", "a⟨U+0000⟩⟨U+001B⟩[31m⟨U+000D⟩"),
        ("\ud800\u200b\u2028", "⟨U+D800⟩⟨U+200B⟩⟨U+2028⟩"),
    ],
)
def test_what_hides_is_named(text: str, shown: str):
    assert visible(text) == shown


def test_what_is_long_is_cut_with_a_note():
    assert visible("x" * 10_000_000, 5) == "xxxxx … [cut: 10,000,000 characters in all]"
    assert visible("x" * 5, 5) == "xxxxx"


def test_one_line_has_no_line_ends_and_says_how_long_it_was():
    assert one_line("a\n b\u2028c") == "a b c"
    shown = one_line("ab " * 1_000_000, 10)
    assert shown.startswith("ab ab ab a … [cut: ")
    assert "\n" not in shown
