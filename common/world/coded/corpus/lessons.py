"""The curriculum, each step in short exercises: copying, recall, choice by equal words, choice by meaning.

A function's name follows a quote or a label's colon, never a word's blank: it is the same tokens everywhere.
"""

from collections.abc import Callable
from random import Random

from common.toolbench.system_prompt import FUNCTIONS_LABEL, describe_api
from common.world import names
from common.world.catalogue import Api
from common.world.coded.corpus.answers import answer
from common.world.coded.corpus.scene import Scene

_RECALLED = '"{function}" gives the {fact} of a {thing}.'
_RECALLING = (
    'The {fact} of a {thing} comes from "{function}".',
    'For the {fact} of a {thing} call "{function}".',
    "Which function gives the {fact}? {function}",
)
_NOTES = (
    "Who can tell the {fact}",
    "The user asks for the {fact}",
    "To help the user, find out the {fact}",
    "What {subject} lacks is the {fact}",
    "It is not known yet: the {fact}",
    "Of {subject} one wants the {fact}",
    "Look for the {fact}",
    "Here one needs the {fact}",
)
_LABELS = ("Tool", "Call", "Used", "Name")
_ROUNDS = 2
"""How often an exercise asks for each function."""


def copying(scene: Scene) -> str:
    """Words repeated in other dress: the plainest lesson."""
    rng = scene.rng
    makers: tuple[Callable[[Random], str], ...] = (names.proper_name, names.identifier, _function)
    words = [rng.choice(makers)(rng) for _ in range(rng.randint(4, 10))]
    lines = [", ".join(map('"{}"'.format, words))]
    for _ in range(3):
        again = words if rng.random() < 0.8 else rng.sample(words, len(words))
        dress = rng.choice(('"{}"', "'{}'", "'{}': 1", "({})", "{}: #{}"))
        lines.append("Again: " + ", ".join(dress.format(word, word) for word in again))
    return "\n".join(lines)


def recall(scene: Scene) -> str:
    """Names by what they are for, said in the same words but another sentence."""
    rng, apis = scene.rng, scene.told_apart()
    said = {api.function: scene.say(api, other_word=False) for api in apis}
    lines = [_RECALLED.format(function=api.function, fact=said[api.function], thing=api.thing) for api in apis]
    for api in rng.sample(apis, len(apis)):
        sentence = rng.choice(_RECALLING)
        lines.append(sentence.format(function=answered(api), fact=said[api.function], thing=api.thing))
    return "\n".join(lines)


def equal_words(scene: Scene) -> str:
    """Which function gives what a note needs, which says it in the word of its description."""
    return _choices(scene, other_words=False)


def other_words(scene: Scene) -> str:
    """Which function gives what a note needs, which says it in another word for the same."""
    return _choices(scene, other_words=True)


def note(scene: Scene, api: Api, other_word: bool) -> str:
    """A sentence that needs what `api` gives, and then its name as the answer."""
    return f"{need(scene, api, scene.say(api, other_word))}\n{scene.rng.choice(_LABELS)}: {answered(api)}"


def need(scene: Scene, api: Api, fact: str) -> str:
    """A sentence that needs what `api` gives, which it calls `fact`: its last word, as in an agent's thoughts."""
    rng, name = scene.rng, names.proper_name(scene.rng)
    return rng.choice(_NOTES).format(fact=fact, subject=rng.choice((name, f"the {api.thing} {name}")))


def answered(api: Api) -> str:
    """The function's name with its code as an answer: the rest of the name only repeats."""
    return answer(api.name) + api.function.removeprefix(api.name)


def _choices(scene: Scene, other_words: bool) -> str:
    """Some functions as prompts list them, and notes that need them."""
    rng, apis = scene.rng, scene.told_apart()
    apis = apis[: rng.randint(2, len(apis))]
    listed = str([describe_api(api.to_record(), "api_list") for api in apis])
    lines = [rng.choice(("", FUNCTIONS_LABEL.lstrip("\n"))) + listed]
    for _ in range(_ROUNDS):
        lines += [note(scene, api, other_words) for api in rng.sample(apis, len(apis))]
    return "\n".join(lines)


def _function(rng: Random) -> str:
    return f"{names.codes(rng, 1)[0]}_for_{names.double_name(rng, held_out=False)}"
