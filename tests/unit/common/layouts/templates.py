"""Chat templates that take tools, each with the way of one family of models to write calls."""

TURN = "<|start_header_id|>{{ m.role }}<|end_header_id|>\n"
OPEN = "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n{% endif %}"
OFFER = (
    "{% if tools %}<|start_header_id|>system<|end_header_id|>\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}\n\n{% endif %}"
    "{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|eot_id|>\n"
    "{% elif messages[0].role == 'system' %}<|start_header_id|>system<|end_header_id|>\n{{ messages[0].content }}"
    "<|eot_id|>\n{% endif %}"
)
REST = "{% for m in messages %}{% if not (loop.first and m.role == 'system') %}"

MARKED_JSON = (
    OFFER
    + REST
    + "{% if m.role == 'tool' %}<|start_header_id|>user<|end_header_id|>\n<tool_response>\n{{ m.content }}\n"
    "</tool_response>{% else %}" + TURN + "{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{% if m.content or not loop.first %}\n{% endif %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}'
    "{% endif %}<|eot_id|>\n{% endif %}{% endfor %}" + OPEN
)
"""Hermes' and Qwen's: an object between marks, text beside it."""
THINKING = MARKED_JSON.replace(
    TURN + "{{ m.content }}",
    "{% set parts = m.content.split('</think>') %}" + TURN + "{% if loop.last and m.role == 'assistant' %}<think>\n"
    "{{ parts[0].split('<think>')[-1].strip('\n') if parts | length > 1 else '' }}\n</think>\n\n{% endif %}"
    "{{ parts[-1].lstrip('\n') }}",
)
"""Qwen 3's: the last turn's reasoning stays, that of others goes."""
BARE_JSON = (
    "{% for m in messages %}" + TURN + "{% if m.role == 'system' or (tools and loop.index0 == 0) %}"
    "{% for t in tools or [] %}{{ t | tojson(indent=4) }}\n\n{% endfor %}{% endif %}"
    "{% if m.tool_calls %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one call at once') }}{% endif %}"
    '{"name": "{{ m.tool_calls[0].function.name }}", "parameters": {{ m.tool_calls[0].function.arguments | tojson }}}'
    "{% elif m.role == 'tool' %}{{ m.content | tojson }}{% else %}{{ m.content | trim }}{% endif %}<|eot_id|>"
    "{% endfor %}" + OPEN
)
"""Llama 3.1's: an object alone, text beside it dropped, one call a turn, results as JSON strings."""
LIST = (
    "{% set own = messages[0].content if messages[0].role == 'system' %}{% set users = messages | selectattr('role', "
    "'equalto', 'user') | list %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% if m is sameas users[-1] %}{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "[INST] {{ own ~ '\n\n' if own }}{{ m.content }}[/INST]{% else %}[INST] {{ m.content }}[/INST]{% endif %}"
    '{% elif m.role == \'tool\' %}[TOOL_RESULTS] {"content": {{ m.content | tojson }}, "call_id": '
    '"{{ m.tool_call_id }}"}[/TOOL_RESULTS]{% elif m.tool_calls %}[TOOL_CALLS] [{% for c in m.tool_calls %}'
    "{% if c.id | length != 9 %}{{ raise_exception('ids of nine characters') }}{% endif %}"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}, "id": "{{ c.id }}"}'
    "{{ ', ' if not loop.last }}{% endfor %}]</s>{% elif m.role == 'assistant' %} {{ m.content | trim }}</s>{% endif %}"
    "{% endfor %}"
)
"""Mistral's: a list with ids, tools before the last question, the system prompt inside it."""
NAME_FIRST = MARKED_JSON.replace("<tool_call>\n", "[CALL]").replace("\n</tool_call>", "").replace(
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}',
    "{{ c.function.name }}[ARGS]{{ c.function.arguments | tojson }}",
)  # fmt: skip
"""Mistral's of later years."""
FENCED_TEXT = MARKED_JSON.replace("<tool_call>\n", "<call>function<sep>").replace("\n</tool_call>", "</call>").replace(
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}',
    "{{ c.function.name + '\n```json\n' + c.function.arguments + '\n```' }}",
)  # fmt: skip
"""DeepSeek's: arguments are text, as they were written."""

FAMILIES = {
    "marked": MARKED_JSON,
    "thinking": THINKING,
    "bare": BARE_JSON,
    "list": LIST,
    "name_first": NAME_FIRST,
    "fenced": FENCED_TEXT,
}
