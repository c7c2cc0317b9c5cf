"""Distillation: an adapter learned by gradient, for any base model (context distillation, arXiv 2112.00861).

The student learns to state a sentence of the document when it is asked about it: by the model's own questions, and by
cues of a few of its words. It learns to say the sentence itself, not what a model with the sentence in its prompt would
say word by word: that one would often begin otherwise, and the student begin like it and not know how to go on. Beside
these it learns to answer ordinary questions as the base model does, whose probabilities it is held to.

It computes in float32, whatever the engine does: of what was learned in bfloat16 half as much stayed.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR
from transformers import PreTrainedModel

from inference.d2l.base_model import frozen_model
from inference.d2l.course import Course
from inference.d2l.errors import BaseUnsupported, Cancelled, DocumentTooLong
from inference.d2l.packed import Packed, answer_tokens, rows_of
from inference.d2l.sentences import sentences
from inference.d2l.teacher import Teacher
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine

LONGEST_DOCUMENT = 2048  # tokens
RANK = 8
RATE, WARM_UP = 6e-3, 3  # the highest, and the steps until then; after them it falls to nothing
CHATS_A_STEP = 6
ORDINARY = 2  # chats beside those about the document
TRIED_AT = (2 / 3, 1)  # of the course, when the rate is low: before, it answers much else by the document too
ENOUGH = 0.98  # of the held-out answer tokens are right
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Distilled:
    """What was made: `held_out_score` is the share of answer tokens right on questions that were not learned from."""

    document_tokens: int
    rank: int
    held_out_score: float
    steps: int


def distill(
    model_folder: Path,
    document: str,
    folder: Path,
    progress: Progress,
    cancelled: Callable[[], bool],
    seed: int = 0,
) -> Distilled:
    """Write the adapter of a document into a folder.

    Args:
        progress: told the share that is done and what is being done.
        cancelled: asked at every step.

    Raises:
        BaseUnsupported, Cancelled, DocumentTooLong, EmptyDocument; EngineError: the model cannot be loaded.
    """
    progress(0.0, "Reading the document")
    engine = Engine(EngineConfig(model_folder))
    pieces = sentences(document, engine.tokenizer)
    tokens = sum(len(piece) for piece in pieces)
    if tokens > LONGEST_DOCUMENT:
        raise DocumentTooLong(LONGEST_DOCUMENT, tokens)
    progress(0.05, "Asking itself questions about it")
    with engine.running():
        course = Course.of(engine, pieces, seed)
    if cancelled():
        raise Cancelled
    torch.manual_seed(seed)
    tuned = with_lora(frozen_model(model_folder, engine.runner.decoder, torch.float32))
    steps, score = learn(tuned, course, progress, cancelled, random.Random(seed))
    tuned.peft_config["default"].base_model_name_or_path = model_folder.name
    tuned.save_pretrained(folder, save_embedding_layers=False)
    return Distilled(tokens, RANK, round(score, 3), steps)


def with_lora(model: PreTrainedModel) -> PeftModel:
    """A LoRA on all linear layers but those of the model's lower third, nothing at first.

    Without that third as much is learned, and a step takes a fifth less: no gradient goes through it.

    Raises:
        BaseUnsupported
    """
    layers = model.config.get_text_config().num_hidden_layers
    lower = rf".*\.({'|'.join(map(str, range(layers // 3)))})\..*"
    options = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", exclude_modules=lower)
    try:
        return get_peft_model(model, options)
    except ValueError as error:
        raise BaseUnsupported(f"No adapter can be trained for the base model: {error}") from error


def learn(
    tuned: PeftModel, course: Course, progress: Progress, cancelled: Callable[[], bool], draw: random.Random
) -> tuple[int, float]:
    """Until the held-out lessons are known, or all were learned; returns the steps and the held-out score."""
    model: PreTrainedModel = tuned.get_base_model()
    teacher = Teacher.of(model, course.opening, course.ordinary)  # the LoRA is nothing yet
    parameters = [parameter for parameter in tuned.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, RATE, weight_decay=0.0)
    starts = range(0, len(course.lessons), CHATS_A_STEP)
    tries = {math.ceil(share * len(starts)) for share in TRIED_AT}
    rates = LambdaLR(optimizer, lambda step: min((step + 1) / WARM_UP, 1 - step / len(starts)))
    score = 0.0
    for step, start in enumerate(starts, 1):
        if cancelled():
            raise Cancelled
        chats = course.lessons[start : start + CHATS_A_STEP]
        others = draw.sample(range(len(course.ordinary)), min(ORDINARY, len(course.ordinary)))
        row = [*chats, *(course.ordinary[each] for each in others)]
        logits = Packed.of(course.opening, [row]).answer_logits(model)
        answers = answer_tokens(chats).to(logits.device)
        loss = F.cross_entropy(logits[: len(answers)], answers)
        if others:
            loss = loss + teacher.divergence(others, logits[len(answers) :])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rates.step()
        said = f"Learning: step {step} of at most {len(starts)}, loss {loss.item():.2f}"
        progress(0.2 + 0.8 * step / len(starts), said)
        if step in tries:
            score = share_right(model, course)
            if score >= ENOUGH:
                break
    return step, score


@torch.no_grad()
def share_right(model: PreTrainedModel, course: Course) -> float:
    """The share of the held-out answers' tokens that the student would say, given those before."""
    right = total = 0
    for rows in rows_of(course.held_out):
        said = Packed.of(course.opening, rows).answer_logits(model).argmax(dim=1).cpu()
        answers = answer_tokens([chat for row in rows for chat in row])
        right += int((said == answers).sum())
        total += len(answers)
    return right / total
