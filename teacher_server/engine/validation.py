"""What one sequence must be, whichever route it came by, for an engine to be asked."""

from common.api import DistillSequence, TeacherCard
from teacher_server.engine.protocol import SequenceError, SequenceTooLong


def check_sequence(sequence: DistillSequence, card: TeacherCard) -> None:
    """Raises SequenceError when this sequence can't be answered by a teacher with this card."""
    prompt, completion, options = sequence.prompt_token_ids, sequence.completion_token_ids, sequence.generate
    if not prompt:
        raise SequenceError("got an empty prompt_token_ids, expected at least one token")
    if completion is not None and not completion:
        raise SequenceError("got an empty completion_token_ids, expected at least one token to score")
    asked = len(completion) if completion is not None else options.max_tokens if options else 0
    if len(prompt) + asked > card.max_length:
        raise SequenceTooLong(
            f"got {len(prompt)} prompt tokens and {asked} for the completion, this teacher takes at most "
            f"{card.max_length} together"
        )
    largest = max(max(prompt), max(completion or [0]), max(options.stop_token_ids, default=0) if options else 0)
    if largest >= card.vocabulary_size:
        raise SequenceError(
            f"got the token id {largest}, the vocabulary has {card.vocabulary_size}; is this another model's tokenizer?"
        )
