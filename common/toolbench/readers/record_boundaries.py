"""Where a broken JSON record ends, which must be guessed.

Its brackets say so where each is closed; a closing one also closes those inside it that never were. Where that fails,
as with an odd quote, another record begins at the next line that is indented no deeper than this one and opens an
object. In files without such lines it begins at the next object of a list whose first key is that of this record, or of
the file's first whole one.
"""

import re

LONGEST_BOUNDARY = 256
"""Characters within which the beginning of a record is told."""

TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{},"\n]|\Z', re.DOTALL)
FIRST_KEY = re.compile(r'\{\s*"([^"\\]*)"\s*:')
KEY_LINE = re.compile(r'\{[ \t\r]*\n([ \t]*)"')
OBJECT = r"""\s*\{\s*(?:"[^"\\]*"\s*:|'[^'\\]*'\s*:|\w+\s*:|\})"""
"""How a record begins, broken or not; where quotes are out of step, what seems to be one begins otherwise."""
END = {",": re.compile(r"\s*[],]?\s*\Z"), "\n": re.compile(r"\s*\Z")}
OPENER = {"]": "[", "}": "{"}


class RecordBoundaries:
    """How the broken record at `at` of `text` may end.

    `line` is what its line has before it, `key` the first key of a whole record, `separator` what stands between two.
    """

    def __init__(self, text: str, at: int, line: str, key: str | None, separator: str) -> None:
        own = FIRST_KEY.match(text, at)
        keys = [re.escape(each) for each in (own and own[1], key) if each is not None]
        by_key = r'\s*\{\s*"(?:KEYS)"\s*:'.replace("KEYS", "|".join(keys) or r'[^"\\]*')
        by_line = rf"\n(?=[ \t]{{0,{len(line)}}}\{{)"
        key_line = KEY_LINE.match(text, at)
        if key_line and len(key_line[1]) <= len(line):  # indentation says nothing of depth
            before, opening = f",(?={by_key})", OBJECT
        elif line.strip(" \t\r\ufeff"):
            before, opening = f",(?={by_key})|{by_line}", OBJECT
        else:
            before, opening = by_line, by_key
        self._before, self._separator = re.compile(before), separator
        self._opening = re.compile(opening if text[at] == "{" else "")

    def next_record(self, text: str, start: int) -> int | None:
        """Where another record seems to begin, whatever the brackets from `start` on are; None if not in `text`."""
        match = self._before.search(text, start)
        return match and match.end()

    def end_by_brackets(self, text: str, start: int, stop: int | None, ended: bool) -> int | None:
        """Where the record from `start` ends outside all its brackets: at the file's or array's end, or before another.

        None where `text` up to `stop` doesn't show it; the file `ended` with `text`, or more may follow.
        """
        opened: list[str] = []
        for token in TOKEN.finditer(text, start, len(text) if stop is None else stop):
            mark = token[0]
            if mark == '"':  # a string without end
                return None
            if mark in ("[", "{"):
                opened.append(mark)
            elif OPENER.get(mark) in opened:
                while opened.pop() != OPENER[mark]:
                    pass
            elif not opened and self._ends(text, token, ended):
                return token.start()
        return None

    def _ends(self, text: str, token: re.Match[str], ended: bool) -> bool:
        if token[0] == self._separator and self._opening.match(text, token.end()):
            return True
        return ended and END[self._separator].match(text, token.start()) is not None
