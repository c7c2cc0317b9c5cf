"""Held-out means that neither the wording nor the facts were ever trained on."""

import random

from inference.d2l.data import fact_document, fact_statement, needle_document, needle_statement
from inference.d2l.templates import FACTS, FILLERS, HELD_OUT_FILLERS, NEEDLE


def test_no_wording_is_on_both_sides() -> None:
    for template in (NEEDLE, *FACTS):
        assert not set(template.statements) & set(template.held_out_statements)
        assert not set(template.questions) & set(template.held_out_questions)
    assert not set(FILLERS) & set(HELD_OUT_FILLERS)


def test_no_value_is_on_both_sides() -> None:
    draw = random.Random(0)

    def values(unseen: bool) -> set[str]:
        made = [make(draw, unseen) for make in (fact_statement, needle_statement) for _ in range(1500)]
        return {statement.question.value for statement in made if statement.question}

    assert not values(True) & values(False)


def test_a_document_holds_the_value_of_each_question() -> None:
    draw = random.Random(1)
    for unseen in (True, False):
        for document in (fact_document(draw, unseen, 4), needle_document(draw, unseen, 60)):
            assert document.questions
            assert all(question.value in document.text for question in document.questions)


def test_the_same_seed_draws_the_same_document() -> None:
    assert fact_document(random.Random(7), True, 3) == fact_document(random.Random(7), True, 3)
