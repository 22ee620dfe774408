"""The system prompt: ToolBench's rules on fields and lengths, and the list of APIs read back."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.toolbench.fields import BadRecord
from common.toolbench.system_prompt import (
    AUTOGPT,
    FINISH,
    build_system_prompt,
    complete_system_message,
    describe_api,
    offered_functions,
    split_system_prompt,
)

values = st.recursive(st.text(max_size=20) | st.integers() | st.none() | st.booleans(), st.lists, max_leaves=3)


def parameter(name: str, **changes: Any) -> dict[str, Any]:
    return {"name": name, "type": "STRING", "description": "what", "default": ""} | changes


def api(**changes: Any) -> dict[str, Any]:
    fields = {
        "category_name": "Weather",
        "tool_name": "Sky Watch",
        "api_name": "Forecast",
        "api_description": " Call Forecast for days ahead. ",
        "required_parameters": [parameter("City")],
        "optional_parameters": [parameter("days", type="NUMBER", default=3)],
    }
    return fields | changes


def test_one_function():
    assert describe_api(api(), "api_list[0]") == {
        "name": "forecast_for_sky_watch",
        "description": 'This is the subfunction for tool "sky_watch", you can use this tool.'
        'The description of this function is: "Call forecast_for_sky_watch for days ahead."',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "what"},
                "days": {"type": "integer", "description": "what", "example_value": 3},
            },
            "required": ["city"],
            "optional": ["days"],
        },
    }


def test_optional_parameters_only_beside_required_ones():
    parameters = describe_api(api(required_parameters=[]), "x")["parameters"]
    assert parameters == {"type": "object", "properties": {}, "required": [], "optional": []}


@pytest.mark.parametrize(
    ("own", "mapped"),
    [("NUMBER", "integer"), ("STRING", "string"), ("BOOLEAN", "boolean"), ("ENUM", "string"), ("number", "string")],
)
def test_types(own: str, mapped: str):
    function = describe_api(api(required_parameters=[parameter("a", type=own)]), "x")
    assert function["parameters"]["properties"]["a"]["type"] == mapped


def test_length_limits():
    long = api(api_description="d" * 300, required_parameters=[parameter("a", description="p" * 300)])
    prompt = build_system_prompt([long], {"Sky Watch": "t" * 600})
    assert f'is: "{"d" * 256}"' in prompt
    assert f"'{'p' * 256}'" in prompt
    assert f"\n1.sky_watch: {'t' * 512}\n" in prompt


def test_a_blank_description_leaves_its_sentence_out():
    assert describe_api(api(api_description=" "), "x")["description"].endswith("you can use this tool.")


def test_the_whole_prompt_in_order():
    apis = [api(), api(tool_name="Maps"), api(api_name="Now")]
    prompt = build_system_prompt(apis, {"Maps": "Roads\nand rails "})
    head, found, functions = prompt.partition("\nSpecifically, you have access to the following APIs: ")
    assert found
    words = (
        "excute your step. Your output should follow this format:\nThought:\nAction\nAction Input:\n\nAfter the call"
    )
    assert head.count(words) == 1
    assert head.endswith("You have access of the following tools:\n1.sky_watch: None\n2.maps: Roadsand rails\n")
    assert functions.startswith("[{'name': 'forecast_for_sky_watch'")
    names = [function["name"] for function in offered_functions(prompt)]
    assert names == ["forecast_for_sky_watch", "forecast_for_maps", "now_for_sky_watch", "Finish"]


@given(st.lists(st.dictionaries(st.text(max_size=5), values), max_size=3), st.text(max_size=20))
def test_the_list_of_apis_reads_back(functions: list[dict[str, Any]], description: str):
    offered = [function | {"name": "f"} for function in functions] + [FINISH]
    message = f"{AUTOGPT}1.tool: {description}\n".replace("\nSpecifically", "")
    prompt = complete_system_message(message, offered)
    assert offered_functions(prompt) == offered
    assert split_system_prompt(prompt) == (message, offered)


@pytest.mark.parametrize(
    "text",
    ["You are AutoGPT.", "\nSpecifically, you have access to the following APIs: [{'name': 'cut", ""]
    + [f"\nSpecifically, you have access to the following APIs: {value}" for value in ("1", "[1]", "[{}]", "f()")],
)
def test_a_prompt_without_a_readable_list_raises(text: str):
    with pytest.raises(UserError, match="no readable list of APIs"):
        offered_functions(text)


def test_a_foreign_system_message_is_refused():
    with pytest.raises(BadRecord, match="lacks ToolBench's words"):
        complete_system_message("You are a helpful assistant.", [])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"tool_name": 3}, "'api_list.tool_name' holds a whole number, expected a string"),
        ({"api_description": None}, r"'api_list\[0\].api_description' holds None, expected a string"),
        ({"required_parameters": ["x"]}, r"required_parameters\[0\] is a string, expected an object"),
        ({"required_parameters": [{"name": "a"}]}, r"required_parameters\[0\].type' is missing"),
    ],
)
def test_a_broken_api_names_its_field(broken: dict[str, Any], message: str):
    with pytest.raises(BadRecord, match=message):
        build_system_prompt([api(**broken)], {})


def test_our_words_are_the_recorded_ones(shared_data: Path):
    for file in sorted((shared_data / "ToolBench/data_example/answer").rglob("*.json")):
        answer = json.loads(file.read_bytes())["answer_generation"]
        for messages in answer.get("train_messages", []):
            assert messages[0]["content"].startswith(AUTOGPT + "1.")
            prompt = complete_system_message(messages[0]["content"], answer["function"])
            assert offered_functions(prompt) == answer["function"]
            assert answer["function"][-1]["name"] == "Finish"
