"""Questions that the real model asks itself."""

from inference.d2l.self_questions import self_questions
from inference.engine.engine import Engine

STATEMENTS = ["The gate of the park is blue.", "Rita Moss mends the clocks.", "A boat costs 15 pounds an hour."]
EXAMPLES_TOKENS = 96  # at least, of five examples


def cached_tokens(engine: Engine, seed: int, share_examples: bool) -> int:
    """How many tokens of the prompts were found again."""
    before = engine.stats().cached_tokens
    asked = self_questions(engine, STATEMENTS, 2, seed, share_examples=share_examples)
    assert len(asked) == len(STATEMENTS)
    for of_one in asked:
        assert 1 <= len(of_one) == len(set(of_one)) <= 2
        assert all(question.endswith("?") for question in of_one)
    return engine.stats().cached_tokens - before


def test_examples_that_all_statements_share_are_read_once(engine: Engine) -> None:
    assert cached_tokens(engine, seed=11, share_examples=True) >= 4 * EXAMPLES_TOKENS
    assert cached_tokens(engine, seed=12, share_examples=False) < 4 * EXAMPLES_TOKENS
