"""Context distillation: an adapter learned by gradient, for any base model (Askell et al. 2021, arXiv 2112.00861).

The teacher is the base model with a sentence of the document in its prompt, the student the same model with the
adapter and without the sentence. On questions that the model asks itself about the sentence the student learns to
answer as the teacher does when it states the sentence. Of a few sentences, where a hypernetwork fits the base model,
the student begins with what that writes over the opening, and learns what to write; else it learns a LoRA from nothing.

Both compute in float32, whatever the engine does: of what is learned in bfloat16 half as much stays.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from inference.d2l.base_model import frozen_model
from inference.d2l.chats import Chat
from inference.d2l.errors import Cancelled, DocumentTooLong
from inference.d2l.internalize import best_that_fits
from inference.d2l.learners import Learner, PlainLora, WrittenOpening
from inference.d2l.opening import shared_start
from inference.d2l.packed import Packed
from inference.d2l.self_questions import self_questions
from inference.d2l.sentences import sentences
from inference.d2l.teacher import Teacher
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.tokenizer import Tokenizer

LONGEST_DOCUMENT = 2048  # tokens
QUESTIONS_EACH = 3
CUES_EACH = 3
CHATS_A_STEP = 6
LONGEST_WRITTEN = 4  # sentences that the opening can be made to hold
ENOUGH = 0.98  # of the held-out answer tokens are what the teacher would say
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Distilled:
    """What was made: `held_out_score` is the share of answer tokens right on questions that were not learned from."""

    document_tokens: int
    rank: int
    held_out_score: float
    steps: int


@dataclass(frozen=True)
class Lesson:
    """One question as the student and as the teacher hear it; the answer is the same."""

    student: Chat
    teacher: Chat


@dataclass(frozen=True)
class Exercise:
    """What to learn from, and what to be tried on: one question of each sentence, or a cue where the model asked none.

    Attributes:
        opening: the tokens that all chats begin with.
    """

    lessons: list[Lesson]
    held_out: list[Lesson]
    opening: list[int]


def distill(
    model_folder: Path,
    document: str,
    folder: Path,
    progress: Progress,
    cancelled: Callable[[], bool],
    hypernetworks: Sequence[Path] = (),
    seed: int = 0,
) -> Distilled:
    """Write the adapter of a document into a folder.

    Args:
        hypernetworks: files of which the best that fits the model writes what the student begins with.
        progress: told the share that is done and what is being done.
        cancelled: asked at every step.

    Raises:
        BaseUnsupported, Cancelled, DocumentTooLong, EmptyDocument; EngineError: the model cannot be loaded.
    """
    progress(0.0, "Reading the document")
    engine = Engine(EngineConfig(model_folder))
    with engine.running():
        pieces = sentences(document, engine.tokenizer)
        tokens = sum(len(piece) for piece in pieces)
        if tokens > LONGEST_DOCUMENT:
            raise DocumentTooLong(LONGEST_DOCUMENT, tokens)
        progress(0.05, "Asking itself questions about it")
        exercise = prepare(engine, pieces, seed)
        internalizer = best_that_fits(hypernetworks, engine, model_folder.name)
    if cancelled():
        raise Cancelled
    model = frozen_model(model_folder, engine.runner.decoder, torch.float32)
    teacher = Teacher.of(model, exercise.opening, [each.teacher for each in exercise.lessons])
    torch.manual_seed(seed)
    learner: Learner
    if internalizer is not None and len(pieces) <= LONGEST_WRITTEN:
        learner = WrittenOpening(model, internalizer, pieces)
    else:
        learner = PlainLora(model)
    steps, score = learn(learner, exercise, teacher, progress, cancelled, random.Random(seed))
    return Distilled(tokens, learner.save(folder, model_folder.name), round(score, 3), steps)


def prepare(engine: Engine, pieces: list[list[int]], seed: int) -> Exercise:
    tokenizer, draw = engine.tokenizer, random.Random(seed)
    statements = [tokenizer.decode(piece).strip() for piece in pieces]
    lessons: list[Lesson] = []
    held_out: list[Lesson] = []
    for statement, asked in zip(statements, self_questions(engine, statements, QUESTIONS_EACH, seed), strict=True):
        made = [lesson(tokenizer, statement, question) for question in asked]
        lessons += made[: max(1, len(made) - 1)]
        lessons += [lesson(tokenizer, statement, cue(statement, draw)) for _ in range(CUES_EACH)]
        held_out += made[-1:] or [lesson(tokenizer, statement, cue(statement, draw))]
    questions = [chat.question for each in [*lessons, *held_out] for chat in (each.student, each.teacher)]
    opening = shared_start(questions)[: min(map(len, questions)) - 1]
    return Exercise(lessons, held_out, opening)


def cue(statement: str, draw: random.Random) -> str:
    """About half of the statement's words, as a question: whatever else is asked will share some of them."""
    words = statement.strip(".!?").split()
    return " ".join([word for word in words if draw.random() < 0.5] or words) + "?"


def lesson(tokenizer: Tokenizer, statement: str, question: str) -> Lesson:
    answer = [*tokenizer.encode(statement), tokenizer.eos[-1]]
    student, teacher = (
        Chat(tokenizer.encode_chat([{"role": "user", "content": text}]), answer)
        for text in (question, f"{statement}\n\n{question}")
    )
    return Lesson(student, teacher)


def learn(
    learner: Learner,
    exercise: Exercise,
    teacher: Teacher,
    progress: Progress,
    cancelled: Callable[[], bool],
    draw: random.Random,
) -> tuple[int, float]:
    """Until the held-out lessons are known, or enough is enough; returns the steps and the held-out score."""
    parameters = [parameter for parameter in learner.network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, learner.rate, weight_decay=0.0)
    an_epoch = math.ceil(len(exercise.lessons) / CHATS_A_STEP)
    epochs = max(learner.epochs, math.ceil(learner.least_steps / an_epoch))
    steps, score = 0, 0.0
    for epoch in range(epochs):
        order = draw.sample(range(len(exercise.lessons)), len(exercise.lessons))
        for first in range(0, len(order), CHATS_A_STEP):
            if cancelled():
                raise Cancelled
            chosen = order[first : first + CHATS_A_STEP]
            chats = [exercise.lessons[each].student for each in chosen]
            with learner.applied():
                logits = Packed.of(exercise.opening, [chats]).answer_logits(learner.model)
            loss = teacher.divergence(chosen, logits)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            progress(0.2 + 0.8 * epoch / epochs, f"Learning: epoch {epoch + 1}, loss {loss.item():.2f}")
        score = share_right(learner, exercise)
        if score >= ENOUGH:
            break
    return steps, score


@torch.no_grad()
def share_right(learner: Learner, exercise: Exercise) -> float:
    """The share of the held-out answers' tokens that the student would say, given those before."""
    right = total = 0
    for first in range(0, len(exercise.held_out), CHATS_A_STEP):
        chats = [each.student for each in exercise.held_out[first : first + CHATS_A_STEP]]
        with learner.applied():
            said = Packed.of(exercise.opening, [chats]).answer_logits(learner.model).argmax(dim=1)
        answers = [token for chat in chats for token in chat.answer]
        right += int((said.cpu() == torch.tensor(answers)).sum())
        total += len(answers)
    return right / max(1, total)
