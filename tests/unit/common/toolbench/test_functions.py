"""Lists of offered functions: every form that is found is read, and whatever is read can be checked against."""

import json
from typing import Any

import pytest

from common.quality.completions import check_completion
from common.toolbench.fields import BadRecord
from common.toolbench.functions import parse_functions, required_parameters

RAIN = {
    "name": "rain",
    "description": 'it\'s "wet" ☂ 😀',
    "parameters": {"type": "object", "properties": {"city": {"default": None, "strict": True}}, "required": ["city"]},
}
NAN = RAIN | {"example_value": float("nan"), "limit": float("inf")}


@pytest.mark.parametrize("write", [str, json.dumps, lambda functions: json.dumps(functions, ensure_ascii=False)])
@pytest.mark.parametrize(
    "wrap", [lambda function: function, lambda function: {"type": "function", "function": function}]
)
def test_python_and_json_wrapped_or_not_are_the_same(write: Any, wrap: Any):
    assert parse_functions(write([wrap(RAIN), wrap({"name": "now"})])) == [RAIN, {"name": "now"}]
    assert parse_functions(write([wrap(NAN)])) == [RAIN | {"example_value": None, "limit": None}]


@pytest.mark.parametrize(
    ("changes", "required"),
    [
        ({"parameters": None}, set()),
        ({"parameters": {}}, set()),
        ({"parameters": {"required": None}}, set()),
        ({"parameters": {"required": ["", "city", " "]}}, {"city"}),
        ({"parameters": {"required": ["city", "day"]}}, {"city", "day"}),
    ],
)
def test_what_a_function_requires(changes: dict[str, Any], required: set[str]):
    [function] = parse_functions(str([RAIN | changes]))
    assert required_parameters(function) == required
    text = f"Thought: x\nAction: rain\nAction Input: {json.dumps(dict.fromkeys(required, 1))}"
    assert check_completion(text, [function]).valid


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[f()]", "expected a list"),
        ("{'name': 'f'}", "expected a list"),
        ("[{'name': 'cut", "expected a list"),
        ("[unknown]", "expected a list"),
        ("[" * 5000, "expected a list"),
        ("[1]", "function 1 is a whole number, expected an object"),
        ("[{}]", "'function 1.name' is missing"),
        ("[{'name': None}]", "'function 1.name' holds None"),
        ('[{"type": "function", "function": {}}]', "'function 1.function.name' is missing"),
        ("[{'name': 'f', 'parameters': 'x'}]", "'function f.parameters' holds a string, expected an object"),
        ("[{'name': 'f', 'parameters': {'required': 'x'}}]", "required' holds a string, expected a list"),
        ("[{'name': 'f', 'parameters': {'required': [['x']]}}]", "expected a list of names"),
    ],
)
def test_what_cannot_be_checked_against_is_named(text: str, message: str):
    with pytest.raises(BadRecord, match=message) as error:
        parse_functions(text)
    assert error.value.reason == "unreadable_apis"
