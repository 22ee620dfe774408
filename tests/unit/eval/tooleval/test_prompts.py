"""What a judge is asked, and which replies have a label."""

from pathlib import Path

import pytest
import yaml

from common.errors import UserError
from eval.tooleval.prompts import DEFAULT, FIELDS, LABELS, label_in, load_prompts

STATUSES = LABELS["answer_status"]


@pytest.mark.parametrize("kind", FIELDS)
def test_each_prompt_holds_what_it_is_about_and_says_each_label(kind: str):
    prompt = load_prompts(None).of(kind)
    text = prompt.filled(**{field: f"<<{field} costs $5>>" for field in FIELDS[kind]})
    assert all(f"<<{field} costs $5>>" in text for field in FIELDS[kind])
    for label in LABELS[kind]:
        assert f'"{prompt.heading}: {label}"' in text
        assert label_in(f"{prompt.heading}: {label}", prompt.heading, LABELS[kind]) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Because.\nAnswer Status: Solved", "Solved"),
        ("answer status: unsolved.\n", "Unsolved"),
        ("**Answer Status:** Unsure", "Unsure"),
        ("## Answer Status\nUnsolved\nReason\nIt isn't Solved", "Unsolved"),
        ("Answer Status: Solved\nAnswer Status: Solved", "Solved"),
        ("Answer Status: Solved\nAnswer Status: Unsolved", None),
        ("Answer Status: Solved or Unsolved", None),
        ("Answer Status: Solved0304", None),
        ("Answer Status: mostly Solved", None),
        ("The Answer Status: Solved", None),
        ("Answer Status:\n\nSolved", None),
        ("Task Status: Solved", None),
        ("Solved", None),
        ("Unsure", None),
        ("", None),
    ],
)
def test_only_a_label_that_stands_alone_behind_its_heading_counts(reply: str, label: str | None):
    assert label_in(reply, "Answer Status", STATUSES) == label


@pytest.mark.parametrize("text", ["$query", "$query $answer $more", "$query $answer 5 $ more", "nothing"])
def test_a_file_of_prompts_must_name_what_is_filled_in(tmp_path: Path, text: str):
    prompts = yaml.safe_load(DEFAULT.read_text())
    file = tmp_path / "prompts.yaml"
    file.write_text(yaml.safe_dump(prompts | {"answer_status": {"heading": "Status", "text": text}}))
    with pytest.raises(
        UserError, match=r"prompts\.yaml: .*'answer_status' must name \$answer, \$query and nothing else"
    ):
        load_prompts(file)


def test_a_file_of_prompts_takes_the_place_of_the_projects_own(tmp_path: Path):
    prompts = yaml.safe_load(DEFAULT.read_text())
    own = {"heading": "Status", "text": "For $$1: does $answer answer $query?"}
    (tmp_path / "prompts.yaml").write_text(yaml.safe_dump(prompts | {"answer_status": own}))
    loaded = load_prompts(tmp_path / "prompts.yaml")
    assert loaded.answer_status.filled(query="q", answer="a") == "For $1: does a answer q?"
    assert loaded.task_status == load_prompts(None).task_status
