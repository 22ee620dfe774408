"""What a started engine says of itself."""

from types import SimpleNamespace
from typing import Any

import pytest

from common.errors import UserError
from teacher_server.settings import TeacherServerSettings
from teacher_server.vllm.card import make_card
from tests.unit.teacher_server.openai.chat.scripted import byte_tokenizer

CONFIG: Any = SimpleNamespace(
    get_vocab_size=lambda: 400, dtype="torch.float32", try_get_generation_config=lambda: {"eos_token_id": [2, 1]}
)


@pytest.mark.parametrize("layout", ["toolbench", "chat", "tools", None])
def test_the_card_says_in_which_layout_tools_are_called(layout: Any):
    card = make_card(TeacherServerSettings(model="m", tool_layout=layout), CONFIG, byte_tokenizer())
    assert (card.tool_layout, card.end_token_ids) == (layout, [1, 2])


@pytest.mark.parametrize(("layout", "template"), [("tools", "{{ messages[0].content }}"), ("chat", "")])
def test_a_layout_that_the_template_cannot_have_is_refused_at_the_start(layout: Any, template: str):
    settings = TeacherServerSettings(model="m", tool_layout=layout)
    with pytest.raises(UserError, match="chat template"):
        make_card(settings, CONFIG, byte_tokenizer(template))
