"""What a distillation learns from, asked of the real model."""

from collections import Counter

import pytest

from inference.d2l import course
from inference.d2l.chats import Chat
from inference.d2l.sentences import sentences
from inference.engine.engine import Engine

PAGE = (
    "The harbour office of Porto opens at 6:45. Berth 7 is kept for ferries. A permit costs 12.40 pounds. "
    "Ines Duarte is the harbour master. The lighthouse is painted green."
)


@pytest.fixture(scope="module")
def made(engine: Engine) -> course.Course:
    return course.Course.of(engine, sentences(PAGE, engine.tokenizer), seed=0)


def said(engine: Engine, chat: Chat) -> str:
    return engine.tokenizer.decode([token for token in chat.answer if token not in engine.tokenizer.eos])


def test_every_sentence_is_the_answer_of_as_many_lessons(engine: Engine, made: course.Course) -> None:
    found = Counter(said(engine, chat) for chat in made.lessons)
    assert " ".join(sorted(found)) == " ".join(sorted(PAGE.replace(". ", ".\n").split("\n")))
    assert len(set(found.values())) == 1
    assert len(made.lessons) >= course.FEWEST_LESSONS


def test_what_is_held_out_is_asked_in_no_lesson(made: course.Course) -> None:
    taught = {tuple(chat.question) for chat in made.lessons}
    assert len(made.held_out) == 5
    assert not taught & {tuple(chat.question) for chat in made.held_out}


def test_lessons_begin_with_cues_and_with_questions_that_the_model_asked_itself(
    engine: Engine, made: course.Course
) -> None:
    words = set(PAGE.replace(".", " ").replace(":", " ").split())
    texts = [engine.tokenizer.decode(chat.question[len(made.opening) :]) for chat in made.lessons]
    cues = [text for text in texts if set(text.split("?")[0].replace(".", " ").replace(":", " ").split()) <= words]
    assert len(set(cues)) > len(made.lessons) / 4
    assert len(cues) < len(texts)


def test_all_chats_begin_with_the_opening(made: course.Course) -> None:
    for chat in (*made.lessons, *made.held_out, *made.ordinary):
        assert chat.question[: len(made.opening)] == made.opening
        assert len(chat.question) > len(made.opening)


def test_a_long_document_is_tried_on_some_of_its_sentences(engine: Engine) -> None:
    pieces = [engine.tokenizer.encode(f"Locker {number} is blue.") for number in range(course.MOST_HELD_OUT + 6)]
    made = course.Course.of(engine, pieces, seed=0)
    assert len(made.held_out) == course.MOST_HELD_OUT
    assert len(made.lessons) == course.ROUNDS * len(pieces)
