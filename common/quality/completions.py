"""One written completion judged: its form, what it calls, and how that compares with the recorded one.

Pure functions of texts in ToolBench's form, as `Renderer.react` gives them, and of the functions that prompts offer,
as `system_prompt.offered_functions` reads them. A measure that doesn't apply to a completion is None, and counts for
nothing: `share` of none is None, never a perfect score.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from common.quality.arguments import same_arguments
from common.toolbench.finish import NAME, finish
from common.toolbench.functions import required_parameters
from common.toolbench.react import ParseError, Step, find_labels, parse_step, read_object, split_reasoning
from common.toolbench.status import Status

RAW_JSON = re.compile(r'\s*(?:```\w*\s*)?(?:\{\s*["}]|\[\s*[\[{"\]])')
"""What opens a JSON object or list, behind a code fence or not."""
WORD = re.compile(r"\w+|[^\w\s]")
GRAM = 4
"""Words of which a repeated run counts as repetition."""
Functions = Sequence[dict[str, Any]]


@dataclass(frozen=True)
class FormatReport:
    """What holds of one completion. A check that another one rests on fails with it."""

    parses: bool
    """It is a Thought, an Action and an Action Input."""
    names_offered_api: bool
    """The action is one of the offered functions, Finish included."""
    arguments_are_json: bool
    """The action input is a JSON object."""
    required_present: bool
    """The object has every parameter that the function requires."""

    @property
    def valid(self) -> bool:
        """Whether all four hold: the completion is one that a tool environment can run."""
        return self.parses and self.names_offered_api and self.arguments_are_json and self.required_present


@dataclass(frozen=True)
class CompletionReport:
    """What one completion is by itself."""

    form: FormatReport
    has_thought: bool
    """Each label by itself, in its place: the Thought's,"""
    has_action: bool
    """the Action's,"""
    has_action_input: bool
    """and the Action Input's."""
    hallucinates: bool | None
    """It names a function that isn't on offer; None where it can't be read, so that it names none."""
    gives_up: bool
    """It is a Finish that gives up."""
    is_raw_json: bool
    """It isn't a step and opens a JSON object or list instead, whole or cut, in a code fence or not."""
    repetition: float
    """Share of its runs of four words that stood in it before, punctuation marks being words: seq-rep-4 of Welleck et
    al., "Neural Text Generation with Unlikelihood Training", ICLR 2020."""


@dataclass(frozen=True)
class Agreement:
    """How a written completion compares with the recorded one; where the recorded one can't be read, all are None.

    Of a recorded call, exactly one holds of what was written: it calls, it finishes early, it gives up, or neither can
    be run, since it can't be read or names no function on offer.
    """

    same_action: bool | None
    """Both name the same function."""
    arguments_exact: bool | None = None
    """Of a recorded call: the same function, and its arguments to the letter, white space at their ends aside. None,
    as the next, where the recorded arguments are no JSON object."""
    arguments_equal: bool | None = None
    """Of a recorded call: the same function, and arguments that mean the same, see `arguments.same_arguments`."""
    calls: bool | None = None
    """Of a recorded call: it is a call of a function on offer, whichever; the call rate."""
    finishes_early: bool | None = None
    """Of a recorded call: it is a Finish that doesn't give up."""
    abstains: bool | None = None
    """Of a recorded Finish: it is one too, and calls nothing; the abstain rate."""


def check_completion(text: str, offered: Functions) -> FormatReport:
    """Check `text` against the functions that its prompt offers."""
    step = _read(text)
    if step is None:
        return FormatReport(False, False, False, False)
    arguments = read_object(step.action_input)
    required = [required_parameters(function) for function in offered if function["name"] == step.action]
    complete = arguments is not None and any(names <= set(arguments) for names in required)
    return FormatReport(True, bool(required), arguments is not None, complete)


def judge_completion(text: str, offered: Functions) -> CompletionReport:
    """Judge `text` by itself, against the functions that its prompt offers."""
    form, labels = check_completion(text, offered), find_labels(text)
    return CompletionReport(
        form=form,
        has_thought=labels.thought is not None,
        has_action=labels.action is not None,
        has_action_input=labels.action_input is not None,
        hallucinates=not form.names_offered_api if form.parses else None,
        gives_up=gives_up(_read(text)),
        is_raw_json=not form.parses and RAW_JSON.match(split_reasoning(text)[1]) is not None,
        repetition=repetition(text),
    )


def compare_completions(recorded: str, written: str, offered: Functions) -> Agreement:
    """Compare the action and the arguments of `written` with those of `recorded`, the answer to the same prompt."""
    ours, theirs = _read(recorded), _read(written)
    if ours is None:
        return Agreement(None)
    same = theirs is not None and theirs.action == ours.action
    finishes = theirs is not None and theirs.action == NAME
    if ours.action == NAME:
        return Agreement(same, abstains=finishes)
    function = next((each for each in offered if each["name"] == ours.action), {})
    inputs = ours.action_input.strip(), theirs.action_input.strip() if theirs is not None and same else ""
    comparable = read_object(inputs[0]) is not None
    return Agreement(
        same_action=same,
        arguments_exact=inputs[0] == inputs[1] if comparable else None,
        arguments_equal=same_arguments(*inputs, function) if comparable else None,
        calls=theirs is not None and not finishes and any(each["name"] == theirs.action for each in offered),
        finishes_early=finishes and not gives_up(theirs),
    )


def gives_up(step: Step | None) -> bool:
    """Whether a step is a Finish that gives up."""
    return step is not None and step.action == NAME and finish(step.action_input).status == Status.GAVE_UP


def repetition(text: str) -> float:
    """As `CompletionReport.repetition`; 0 for a text of fewer than five words."""
    words = WORD.findall(text)
    runs = [tuple(words[start : start + GRAM]) for start in range(len(words) - GRAM + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


def share(values: Iterable[float | None]) -> float | None:
    """The mean of the values that aren't None, of booleans the share of true ones; None where there are none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _read(text: str) -> Step | None:
    try:
        return parse_step(text)
    except ParseError:
        return None
