"""Tools that MCP servers list: shown within limits, their arguments checked as far as schemas are plain."""

from typing import Any

import pytest

from common.agents.environments.mcp_client.tools import MOST_BYTES, Listing, offered_tools, problem
from common.errors import UserError


def tool(name: str = "call", description: str = "", **schema: Any) -> dict[str, Any]:
    return {"name": name, "description": description, "inputSchema": {"type": "object", **schema}}


def nested(depth: int) -> dict[str, Any]:
    return {"a": nested(depth - 1)} if depth else {}


REFUSED = [
    ([], "lists 0 tools"),
    ([tool(str(number)) for number in range(200)], "lists 200 tools, expected 1 to 128"),
    ([tool(properties=nested(50))], "the tool 'call' .*more than 16 levels"),
    ([tool(properties={"a": {"enum": ["x" * MOST_BYTES]}})], r"take \d+ bytes, expected 65536 at most"),
    ([tool(properties=[])], None),
    ([tool(properties=["a"])], "properties that are no object"),
    ([tool(required="a")], "required that are no list of names"),
    ([tool(required=[["a"]])], "required that are no list of names"),
]


@pytest.mark.parametrize(("tools", "words"), REFUSED)
def test_tools_that_no_prompt_can_hold_are_refused_by_name(tools: list[dict[str, Any]], words: str | None):
    if words is None:
        assert offered_tools("odd", Listing("", tools))
        return
    with pytest.raises(UserError, match=words):
        offered_tools("odd", Listing("", tools))


def test_what_a_server_says_of_itself_is_cut_and_named_by_toolbenchs_rules():
    says = tool("Get Item!" * 9, "d" * 1000, properties={"a": {"type": "string", "description": "e" * 1000}})
    (offered,) = offered_tools("The Shop", Listing("", [says]))
    assert len(offered.offer["name"]) == 64
    assert offered.offer["name"].endswith("_get_item_for_the_shop")
    assert offered.offer["description"].count("d" * 256) == 1
    assert offered.offer["parameters"]["properties"]["a"]["description"] == "e" * 256
    assert (
        Listing("", [says, tool()]).sha256 == Listing("", [tool(), says]).sha256 != Listing("x", [says, tool()]).sha256
    )


FITS = [
    ({"a": 1}, ""),
    ({"a": 1.0, "b": None, "c": {}, "d": "anything"}, ""),
    ({}, "the required parameter 'a' is missing"),
    ({"a": 1.5}, "the parameter 'a' must be of integer"),
    ({"a": True}, "the parameter 'a' must be of integer"),
    ({"a": 1, "b": 1}, "the parameter 'b' must be of ['string', 'null']"),
    ({"a": 1, "c": "red"}, "the parameter 'c' must be of ['green', {}]"),
    ({"a": 1, "e": 1}, "there is no parameter 'e'"),
]


@pytest.mark.parametrize(("arguments", "words"), FITS)
def test_arguments_are_checked_as_far_as_a_schema_is_plain(arguments: dict[str, Any], words: str):
    properties = {"a": {"type": "integer"}, "b": {"type": ["string", "null"]}, "c": {"enum": ["green", {}]}, "d": {}}
    schema = {"properties": properties | {"f": {"pattern": "(a+)+b"}}, "required": ["a"], "additionalProperties": False}
    assert problem(schema, arguments) == words
