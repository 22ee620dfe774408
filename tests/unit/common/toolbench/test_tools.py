"""Of which tools offered functions are."""

from common.toolbench.system_prompt import FINISH
from common.toolbench.tools import tool_of, tools_of


def function(name: str, description: str = "") -> dict[str, str]:
    return {"name": name, "description": description}


def test_a_description_names_the_tool_even_where_the_name_was_cut():
    text = 'This is the subfunction for tool "currency_for_all", you can use this tool.'
    assert tool_of(function("ate_for_currency_for_all", text)) == "currency_for_all"
    assert tool_of(function("rate_for_currency")) == "currency"
    assert tool_of(function("rate")) == "rate"


def test_the_tool_with_most_functions_comes_first_and_finish_has_none():
    offered = [function("a_for_x"), function("a_for_y"), function("b_for_y"), function("c_for_w"), FINISH]
    assert tools_of(offered) == ["y", "w", "x"]
    assert tools_of([FINISH]) == []
