"""Documents with questions, made from templates: needles in filler text, and pages of facts.

The split is by template and by value: with `unseen`, every wording, subject and value is one that training never
draws.
"""

import random
from dataclasses import dataclass

from inference.d2l.templates import FACTS, FILLERS, HELD_OUT_FILLERS, NEEDLE, Template
from inference.d2l.values import NEEDLE_SUBJECTS, SUBJECTS, VALUES, choose, number


@dataclass(frozen=True)
class Question:
    """A question and the value that a right answer states."""

    text: str
    value: str


@dataclass(frozen=True)
class Document:
    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Statement:
    """A sentence; `is_fact` if an answer can be found in it."""

    text: str
    is_fact: bool
    question: Question | None = None


def needle_statement(draw: random.Random, unseen: bool) -> Statement:
    """The special magic number of something (arXiv 2602.15902, needle in a haystack)."""
    subject, value = choose(draw, NEEDLE_SUBJECTS, unseen), number(draw, unseen)
    statement, question = wording(draw, NEEDLE, unseen)
    return Statement(statement.format(s=subject, v=value), True, Question(question.format(s=subject), value))


def fact_statement(draw: random.Random, unseen: bool, kind: str | None = None) -> Statement:
    """One fact of a kind, or of any."""
    template = draw.choice([template for template in FACTS if kind in (None, template.kind)])
    statement, question = wording(draw, template, unseen)
    subject = {key: choose(draw, names, unseen) for key, names in SUBJECTS.items() if f"{{{key}}}" in statement}
    value = choose(draw, VALUES[template.value], unseen)
    return Statement(statement.format(v=value, **subject), True, Question(question.format(**subject), value))


def filler_statement(draw: random.Random, unseen: bool) -> Statement:
    """A sentence that says nothing."""
    return Statement(draw.choice(HELD_OUT_FILLERS if unseen else FILLERS), False)


def needle_document(draw: random.Random, unseen: bool, words: int) -> Document:
    """One needle somewhere in about `words` words of filler."""
    needle = needle_statement(draw, unseen)
    assert needle.question is not None
    sentences: list[str] = []
    while sum(len(sentence.split()) for sentence in [needle.text, *sentences]) < words:
        sentences.append(filler_statement(draw, unseen).text)
    sentences.insert(draw.randint(0, len(sentences)), needle.text)
    return Document(" ".join(sentences), (needle.question,))


def fact_document(draw: random.Random, unseen: bool, facts: int) -> Document:
    """A page with `facts` facts, of one kind or of several, and here and there a sentence that says nothing."""
    kind = draw.choice([None, *sorted({template.kind for template in FACTS})])
    sentences: list[str] = []
    questions: dict[str, Question] = {}
    while len(questions) < facts:
        fact = fact_statement(draw, unseen, kind)
        assert fact.question is not None
        if fact.question.text in questions:
            kind = None
            continue
        questions[fact.question.text] = fact.question
        sentences.append(fact.text)
        if draw.random() < 0.3:
            sentences.append(filler_statement(draw, unseen).text)
    return Document(" ".join(sentences), tuple(questions.values()))


def wording(draw: random.Random, template: Template, unseen: bool) -> tuple[str, str]:
    """A statement and a question, unfilled."""
    if unseen:
        return draw.choice(template.held_out_statements), draw.choice(template.held_out_questions)
    return draw.choice(template.statements), draw.choice(template.questions)
