"""ToolBench's names, by cases that its own rules decide."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.toolbench.names import RESERVED, function_name, identifier, standardize


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("Transportistas de Argentina", "transportistas_de_argentina"),
        ("/tracking/correo_argentino/result_task/:task_id", "tracking_correo_argentino_result_task_task_id"),
        ("Investors Exchange (IEX) Trading", "investors_exchange_iex_trading"),
        ("__a--b__", "a_b"),
        ("24 Hour Forecast", "get_24_hour_forecast"),
        ("日本 weather", "日本_weather"),
        ("a^b", "a^b"),
        ("é", ""),
        ("", ""),
    ],
)
def test_standardize(name: str, standard: str):
    assert standardize(name) == standard


@pytest.mark.parametrize(
    ("name", "result"), [("ID", "is_id"), ("from", "is_from"), ("class", "is_class"), ("idea", "idea")]
)
def test_reserved_words_get_a_prefix(name: str, result: str):
    assert identifier(name) == result


@given(st.text(max_size=30))
def test_names_are_settled_after_one_pass(name: str):
    once = identifier(name)
    assert standardize(once) == once
    assert once not in RESERVED
    assert once == once.lower()


def test_a_function_keeps_its_last_64_characters():
    name = function_name("Get everything that there is to know", "A tool of a very long name indeed")
    assert len(name) == 64
    assert name.endswith("_for_a_tool_of_a_very_long_name_indeed")
    assert function_name("id", "From") == "is_id_for_from"
