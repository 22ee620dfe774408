"""Prose that tells which words mean the same, and the everyday words of an assistant's work."""

from common.world.coded.corpus.answers import answer
from common.world.coded.corpus.scene import Scene
from common.world.coded.words import MEANINGS
from common.world.names import proper_name
from common.world.prose import passage

_SAME = (
    "The {a} of a thing is its {b}.",
    "To say {a} is to say {b}.",
    "Whoever asks for the {a} wants the {b}.",
    "The {a} and the {b} are one and the same.",
    "If you know the {a} of {name}, you know its {b}.",
    "Some call it {a}, others call it {b}.",
    "The {a} and the {b} mean the same, and so do {c} and {d}.",
    "{name} has its {a}, in other words its {b}.",
)


def prose(scene: Scene) -> str:
    """Sentences on the words of three attributes, and a passage."""
    rng = scene.rng
    lines = []
    for meaning in rng.sample(MEANINGS, 3):
        for _ in range(3):
            a, b, c, d = rng.sample(meaning.words, 4)
            lines.append(rng.choice(_SAME).format(a=a, b=answer(b), c=answer(c), d=answer(d), name=proper_name(rng)))
    word = rng.choice(rng.choice(MEANINGS).words)
    return "\n".join([" ".join(lines), passage(rng, word, proper_name(rng))])
