"""Plain sentences about tools and their use: the everyday words that a base model should know."""

from random import Random

_SENTENCES = (
    "An assistant writes a thought, then an action, then the input of that action.",
    "Thought, Action and Action Input are the three parts of a step.",
    "The System speaks first, then the User, then the Assistant; a Function only returns results.",
    "Finish takes return_type, final_answer",
    "The return_type of Finish is give_answer when the answer is known.",
    "Call Finish when nothing is missing and the final answer is ready.",
    "Here is all that we know about {name}: its {fact} is not known yet.",
    "I know {name}, but I do not know its {fact}.",
    "First look at the name, then search for the id.",
    "Before you ask anything else, you need an id; a name is not enough for this function.",
    "Now let us look up the {fact}, since the user still needs it.",
    "I found that {name} has a {fact}. I can give it to the user.",
    "If the {fact} is still missing, ask again or ask for it in another way.",
    "The results of all functions are enough when they hold the {fact}.",
    "So I call the function that gives the {fact}, and I have what I should need.",
    "Could you help me to find {name}? I want to read what it gives.",
    "Let me tell you: the {fact} is what {name} looks for.",
    "Please finish here, for now you have the final {fact}.",
)


def passage(rng: Random, fact: str, name: str) -> str:
    """Return a few of the sentences, about `fact` and `name`, in random order."""
    return " ".join(rng.sample(_SENTENCES, 6)).format(fact=fact, name=name)
