"""What counts as a collapse of the format: rules, as data, over the figures of what a student writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Figures = Mapping[str, float]
"""What `common.quality.looks.summarize` gives."""


@dataclass(frozen=True)
class Rule:
    """A figure that may not fall: below `floor`, and by more than `fall` from the best that was seen of it.

    Both are of its worth: the figure itself where `more` of it is better, else what it lacks to 1.
    """

    figure: str
    more: bool
    floor: float = 0.5
    fall: float = 0.4

    def worth(self, figures: Figures) -> float:
        """Between 0 and 1; more is better."""
        return figures[self.figure] if self.more else 1 - figures[self.figure]

    def best(self, seen: Sequence[Figures]) -> float:
        """The best that was `seen` of its figure, once at least."""
        return max(seen, key=self.worth)[self.figure]

    def is_broken(self, seen: Sequence[Figures], now: Figures) -> bool:
        """Whether `now` breaks it, after all that was `seen`, once at least."""
        worth = self.worth(now)
        return worth < self.floor and max(map(self.worth, seen)) - worth > self.fall


VALID = Rule("valid", more=True)
RULES = (
    VALID,
    Rule("ended", more=True),
    Rule("repetition", more=False),
    Rule("raw_json", more=False),
    Rule("unknown_api", more=False),
)


def format_score(figures: Figures) -> float:
    """The measure by which what was written at one step is better than at another: the worth of its worst figure."""
    return min(rule.worth(figures) for rule in RULES)


def broken_rules(seen: Sequence[Figures], now: Figures) -> list[Rule]:
    """The rules that `now` breaks; none as long as the student never wrote as many valid completions as VALID's floor.

    Before it knows the format it may well lose one way of missing it for another.
    """
    if max((VALID.worth(each) for each in seen), default=0.0) < VALID.floor:
        return []
    return [rule for rule in RULES if rule.is_broken(seen, now)]
