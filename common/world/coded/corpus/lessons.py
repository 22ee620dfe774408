"""The curriculum, each step in short exercises: copying, recall, choice by equal words, choice by meaning."""

import json
from collections.abc import Callable, Sequence
from random import Random

from common.toolbench.system_prompt import describe_api
from common.world import names, phrasing
from common.world.catalogue import Api
from common.world.coded.corpus.scene import Scene

_RECALLING = (
    "{function} gives the {fact} of a {thing}.",
    "The {fact} of a {thing} comes from {function}.",
    "For the {fact} of a {thing} call {function}.",
)
_CHOOSING = (
    "User: {query}\nThe function that helps is {function}",
    "User: {query}\nTo help the user, I call {function}",
    "The user wants the {fact}.\nThe {fact} comes from {function}",
    "Which function gives the {fact} of a {thing}? {function}",
)


def copying(scene: Scene) -> str:
    """Words repeated in other dress: the plainest lesson."""
    rng = scene.rng
    makers: tuple[Callable[[Random], str], ...] = (names.proper_name, names.identifier, _function)
    words = [rng.choice(makers)(rng) for _ in range(rng.randint(4, 10))]
    lines = [", ".join(words)]
    for _ in range(3):
        again = words if rng.random() < 0.8 else rng.sample(words, len(words))
        dress = rng.choice(("{}", '"{}"', "'{}': 1", "the {} of", "{}: #{}"))
        lines.append("Again: " + ", ".join(dress.format(word, word) for word in again))
    return "\n".join(lines)


def recall(scene: Scene) -> str:
    """Names by what they are for, said in the same words but another sentence."""
    apis = scene.told_apart()
    lines = [_recalled(scene, api) for api in apis]
    return "\n".join([*lines, "Again:", *(_recalled(scene, api) for api in scene.rng.sample(apis, len(apis)))])


def equal_words(scene: Scene) -> str:
    """Which function answers a query that uses the word of its description."""
    return _choice(scene, other_words=False)


def other_words(scene: Scene) -> str:
    """Which function answers a query that uses another word for the same."""
    return _choice(scene, other_words=True)


def _choice(scene: Scene, other_words: bool) -> str:
    apis = scene.told_apart()
    asked = scene.rng.sample(apis, len(apis))
    return "\n".join([_listed(scene.rng, apis), *(_chosen(scene, api, other_words) for api in asked)])


def _listed(rng: Random, apis: Sequence[Api]) -> str:
    """Functions as prompts list them, or a line each."""
    if rng.random() < 0.5:
        return str([describe_api(api.to_record(), "api_list") for api in apis])
    if rng.random() < 0.5:
        return json.dumps({api.function: api.description for api in apis})
    return "\n".join(f"{api.function}: {api.description}" for api in apis)


def _chosen(scene: Scene, api: Api, other_words: bool) -> str:
    fact, rng = scene.say(api, other_words), scene.rng
    subject = names.identifier(rng) if rng.random() < 0.3 else names.proper_name(rng)
    query = phrasing.ask_about(rng, [fact], f"the {api.thing} {subject}")
    return rng.choice(_CHOOSING).format(query=query, function=api.function, fact=fact, thing=api.thing)


def _recalled(scene: Scene, api: Api) -> str:
    sentence = scene.rng.choice(_RECALLING)
    return sentence.format(function=api.function, fact=scene.say(api, other_word=False), thing=api.thing)


def _function(rng: Random) -> str:
    return f"{names.codes(rng, 1)[0]}_for_{names.double_name(rng, held_out=False)}"
