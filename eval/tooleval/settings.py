"""Settings of ToolEval: whose answers are judged, by whom, and how often."""

from typing import Self

from pydantic import Field, model_validator

from common.settings import Settings, UserPath
from eval.endpoint_settings import EndpointSettings


class JudgeSettings(EndpointSettings):
    """A model that judges. Its name, its fingerprint and its prompts stand in the report."""

    temperature: float = Field(default=0.2, ge=0, le=2)
    """ToolBench's judge uses 0.2; at 0 the rounds hardly differ."""
    max_tokens: int = Field(default=512, ge=16)
    """Longest reply, in tokens; one that is cut has no label."""
    attempts: int = Field(default=3, ge=1)
    """Times that an item is asked until the reply has a label; after them it is set aside by name."""


class ToolEvalSettings(Settings):
    """ToolEval of one or several agents on the same queries."""

    answers: dict[str, UserPath] = Field(min_length=1)
    """What the report calls each agent: the folder of its rollout, of answer trees, or of converted files."""
    reference: str | None = None
    """The agent with which all others are compared, for win rate and SoWR; without it nobody is compared."""
    query_ids: UserPath | None = None
    """Folder of ToolBench's `<group>.json`, whose keys are the queries to judge; without it all are that have answers,
    and all agents must have answered the same."""
    judge: JudgeSettings | None = None
    """Who judges answers, tasks and pairs; without it there is FAC alone."""
    final_answer_judge: JudgeSettings | None = None
    """Who judges final answers alone, for FAC, such as a model trained for it; without it there is no FAC."""
    prompts: UserPath | None = None
    """YAML file of the judge's prompts, in place of those in eval/tooleval/prompts.yaml."""
    output: UserPath
    """Folder of converted answers, judgements and the report; an evaluation that was cut off goes on there."""
    rounds: int = Field(default=4, ge=4)
    """Times that each answer, task and pair is judged; the majority counts."""
    seed: int = Field(default=0, ge=0)
    """Of coin flips, of the order in which a pair is shown, of the judge's sampling, and of paths drawn from trees."""
    in_flight: int = Field(default=16, ge=1)
    """Requests to a judge at a time."""

    @model_validator(mode="after")
    def _reference_is_an_agent(self) -> Self:
        if self.reference is not None and (self.reference not in self.answers or len(self.answers) < 2):
            names = ", ".join(self.answers)
            raise ValueError(f"got the reference {self.reference!r}, expected one of {names}, and another beside it")
        return self

    @model_validator(mode="after")
    def _somebody_judges(self) -> Self:
        if not (self.judge or self.final_answer_judge):
            raise ValueError("got no judge, expected `judge`, `final_answer_judge`, or both")
        return self
