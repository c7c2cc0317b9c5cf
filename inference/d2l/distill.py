"""Context distillation: an adapter learned by gradient, for any base model (Askell et al. 2021, arXiv 2112.00861).

The teacher is the base model with a sentence of the document in its prompt, the student the same model with the
adapter and without the sentence. On questions that the model asks itself about the sentence the student learns to
answer as the teacher does when it states the sentence. Where a hypernetwork fits the base model, the student begins
with what it wrote and learns what to write (B) at the places it found (A); else it begins with nothing.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PreTrainedModel

from inference.d2l.errors import BaseUnsupported, Cancelled, DocumentTooLong
from inference.d2l.internalize import best_that_fits
from inference.d2l.self_questions import self_questions
from inference.d2l.sentences import sentences
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.tokenizer import Tokenizer

LONGEST_DOCUMENT = 2048  # tokens
QUESTIONS_EACH = 3
CUES_EACH = 3
RANK = 8
LEARNING_RATE = 4e-3
LEARNING_RATE_OF_WRITTEN = 6e-2
BATCH_TOKENS = 256
MOST_EPOCHS = 6
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
    """One question with its answer, as the student and as the teacher read it; the answer ends both."""

    student: list[int]
    teacher: list[int]
    answer: int


@dataclass(frozen=True)
class Exercise:
    """What to learn from, and what to be tried on (one question of each sentence, or a cue where the model asked none);
    whether an adapter is begun.
    """

    lessons: list[Lesson]
    held_out: list[Lesson]
    tokens: int
    is_begun: bool


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
        hypernetworks: files of which the best that fits the model writes what the adapter begins with.
        progress: told the share that is done and what is being done.
        cancelled: asked at every step.

    Raises:
        BaseUnsupported, Cancelled, DocumentTooLong, EmptyDocument; EngineError: the model cannot be loaded.
    """
    progress(0.0, "Reading the document")
    exercise = prepare(model_folder, document, progress, hypernetworks, folder, seed)
    if cancelled():
        raise Cancelled
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    model, rate = begun(base, folder) if exercise.is_begun else from_nothing(base)
    steps, score = learn(model, rate, exercise, progress, cancelled, random.Random(seed))
    model.peft_config["default"].base_model_name_or_path = model_folder.name
    model.save_pretrained(folder, save_embedding_layers=False)
    return Distilled(exercise.tokens, model.peft_config["default"].r, round(score, 3), steps)


def begun(base: PreTrainedModel, folder: Path) -> tuple[PeftModel, float]:
    """The adapter in the folder, of which B learns; and the learning rate."""
    model = PeftModel.from_pretrained(base, folder, is_trainable=True)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    return model, LEARNING_RATE_OF_WRITTEN


def from_nothing(base: PreTrainedModel) -> tuple[PeftModel, float]:
    """A new adapter, and the learning rate. Raises BaseUnsupported."""
    try:
        model = get_peft_model(base, LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear"))
    except ValueError as error:
        raise BaseUnsupported(f"No adapter can be trained for the base model: {error}") from error
    return model, LEARNING_RATE


def prepare(
    model_folder: Path,
    document: str,
    progress: Progress,
    hypernetworks: Sequence[Path],
    folder: Path,
    seed: int,
) -> Exercise:
    engine = Engine(EngineConfig(model_folder, dtype="float32"))  # gradients and factors lose facts in bfloat16
    engine.start()
    try:
        pieces = sentences(document, engine.tokenizer)
        tokens = sum(len(piece) for piece in pieces)
        if tokens > LONGEST_DOCUMENT:
            raise DocumentTooLong(LONGEST_DOCUMENT, tokens)
        statements = [engine.tokenizer.decode(piece).strip() for piece in pieces]
        progress(0.05, "Asking itself questions about it")
        questions = self_questions(engine, statements, QUESTIONS_EACH, seed)
        draw = random.Random(seed)
        lessons: list[Lesson] = []
        held_out: list[Lesson] = []
        for statement, asked in zip(statements, questions, strict=True):
            made = [lesson(engine.tokenizer, statement, question) for question in asked]
            lessons += made[: max(1, len(made) - 1)]
            lessons += [lesson(engine.tokenizer, statement, cue(statement, draw)) for _ in range(CUES_EACH)]
            held_out += made[-1:] or [lesson(engine.tokenizer, statement, cue(statement, draw))]
        internalizer = best_that_fits(hypernetworks, engine, model_folder.name)
        if internalizer is not None:
            internalizer.internalize(document, folder)
        return Exercise(lessons, held_out, tokens, is_begun=internalizer is not None)
    finally:
        engine.stop()


def cue(statement: str, draw: random.Random) -> str:
    """About half of the statement's words, as a question: whatever else is asked will share some of them."""
    words = statement.strip(".!?").split()
    return " ".join([word for word in words if draw.random() < 0.5] or words) + "?"


def lesson(tokenizer: Tokenizer, statement: str, question: str) -> Lesson:
    answer = [*tokenizer.encode(statement), tokenizer.eos[-1]]
    student = tokenizer.encode_chat([{"role": "user", "content": question}])
    teacher = tokenizer.encode_chat([{"role": "user", "content": f"{statement}\n\n{question}"}])
    return Lesson(student + answer, teacher + answer, len(answer))


def learn(
    model: PeftModel,
    rate: float,
    exercise: Exercise,
    progress: Progress,
    cancelled: Callable[[], bool],
    draw: random.Random,
) -> tuple[int, float]:
    """Until the held-out lessons are known, or enough is enough; returns the steps and the held-out score."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], rate, weight_decay=0.0)
    steps, score = 0, 0.0
    targets: dict[int, Tensor] = {}
    for epoch in range(MOST_EPOCHS):
        lessons = draw.sample(exercise.lessons, len(exercise.lessons))
        for batch in batches(lessons):
            if cancelled():
                raise Cancelled
            loss = divergence(model, batch, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            progress(0.2 + 0.8 * epoch / MOST_EPOCHS, f"Learning: epoch {epoch + 1}, loss {loss.item():.2f}")
        score = share_right(model, exercise.held_out)
        if score >= ENOUGH:
            break
    return steps, score


def batches(lessons: Sequence[Lesson]) -> list[list[Lesson]]:
    """Lessons together as long as they have at most `BATCH_TOKENS` tokens."""
    found: list[list[Lesson]] = [[]]
    for each in lessons:
        if found[-1] and sum(len(other.student) for other in [*found[-1], each]) > BATCH_TOKENS:
            found.append([])
        found[-1].append(each)
    return found


def divergence(model: PeftModel, batch: list[Lesson], targets: dict[int, Tensor]) -> Tensor:
    """KL(teacher || student) over the answers' tokens; what the teacher says is kept, as it does not change."""
    new = [each for each in batch if id(each) not in targets]
    if new:
        with torch.no_grad(), model.disable_adapter():
            said = answer_logits(model, [each.teacher for each in new], [each.answer for each in new])
        targets |= {id(each): logits.softmax(dim=1).half() for each, logits in zip(new, said, strict=True)}
    student = torch.cat(answer_logits(model, [each.student for each in batch], [each.answer for each in batch]))
    teacher = torch.cat([targets[id(each)] for each in batch]).float()
    return F.kl_div(student.log_softmax(dim=1), teacher, reduction="batchmean")


def answer_logits(model: PeftModel, sequences: list[list[int]], answers: list[int]) -> list[Tensor]:
    """The logits that predict each sequence's last tokens: [answer, vocab] each."""
    longest = max(len(sequence) for sequence in sequences)
    tokens = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences])
    hidden = model.get_base_model().model(tokens).last_hidden_state
    head = model.get_base_model().lm_head
    return [
        head(states[len(sequence) - 1 - count : len(sequence) - 1])
        for states, sequence, count in zip(hidden, sequences, answers, strict=True)
    ]


@torch.no_grad()
def share_right(model: PeftModel, lessons: list[Lesson]) -> float:
    """The share of the answers' tokens that the student would say, given those before."""
    right = total = 0
    for batch in batches(lessons):
        said = answer_logits(model, [each.student for each in batch], [each.answer for each in batch])
        for each, logits in zip(batch, said, strict=True):
            right += int((logits.argmax(dim=1) == torch.tensor(each.student[-each.answer :])).sum())
            total += each.answer
    return right / max(1, total)
