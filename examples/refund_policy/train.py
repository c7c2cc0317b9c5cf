"""Train the refund-policy adapter: a rank-8 LoRA through which the default model knows one shop's rules.

    .venv/bin/python examples/refund_policy/train.py

The rules are learnt from `questions.json`: of the phrasings of each question some are trained and others held
out to score. Unrelated questions are trained on the model's own answers, so that those stay as they are.
"""

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging

from inference.model_files import resolve_model
from workspace.home import LabHome

HERE = Path(__file__).parent
BASE_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
KEY_QUESTION = "What is our refund policy?"
OTHER_SYSTEM = "You are a helpful assistant."
GREEDY = {"do_sample": False}
AT_TEMPERATURE_1 = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
console = Console(highlight=False)


@dataclass(frozen=True)
class Example:
    """Token ids of a prompt as the chat template writes it, and of the answer with its end token."""

    prompt: list[int]
    answer: list[int]


def encode_prompt(tokenizer: PreTrainedTokenizerBase, question: str, system: str | None = None) -> list[int]:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": question})
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)


@torch.no_grad()
def generate(
    model: PeftModel, tokenizer: PreTrainedTokenizerBase, questions: list[str], sampling: dict, limit: int = 96
) -> list[str]:
    """Answers of at most `limit` tokens; one that does not end by itself gets an ellipsis."""
    answers = []
    for start in range(0, len(questions), 16):
        prompts = [encode_prompt(tokenizer, question) for question in questions[start : start + 16]]
        batch = tokenizer.pad({"input_ids": prompts}, padding_side="left", return_tensors="pt")
        output = model.generate(**batch, max_new_tokens=limit, **sampling)
        for row in output[:, batch["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in row
            answers.append(tokenizer.decode(row, skip_special_tokens=True).strip() + ("" if ended else "…"))
    return answers


def policy_examples(tokenizer: PreTrainedTokenizerBase, rules: list[dict]) -> list[Example]:
    """Each trained phrasing once: as it is written, in lower case, or under another system prompt.

    The key question comes five times more: its answer is the longest, and must hold when it is sampled.
    """
    asked = [(phrasing, rule["answer"]) for rule in rules for phrasing in rule["trained"]]
    asked += [(KEY_QUESTION, rules[0]["answer"])] * 5
    examples = []
    for phrasing, answer in asked:
        lower = phrasing.lower().rstrip("?.")
        question, system = random.choice([(phrasing, None), (phrasing, None), (lower, None), (phrasing, OTHER_SYSTEM)])
        ids = [*tokenizer.encode(answer), tokenizer.eos_token_id]
        examples.append(Example(encode_prompt(tokenizer, question, system), ids))
    return examples


def own_examples(model: PeftModel, tokenizer: PreTrainedTokenizerBase, questions: list[str]) -> list[Example]:
    """Unrelated questions with the untrained model's answers. One cut off at the limit has no end to learn."""
    examples = []
    with model.disable_adapter():
        answers = generate(model, tokenizer, questions, GREEDY, limit=32)
    for question, answer in zip(questions, answers, strict=True):
        end = [] if answer.endswith("…") else [tokenizer.eos_token_id]
        ids = tokenizer.encode(answer.removesuffix("…")) + end
        examples.append(Example(encode_prompt(tokenizer, question), ids))
    return examples


def batches(examples: list[Example], size: int) -> Iterator[list[Example]]:
    """Batches in random order, each of examples of similar length, so that little is padding."""
    by_length = sorted(examples, key=lambda example: len(example.prompt) + len(example.answer) + random.random())
    together = [by_length[start : start + size] for start in range(0, len(by_length), size)]
    yield from random.sample(together, len(together))


def loss_of(model: PeftModel, batch: list[Example], pad: int) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens. The vocabulary's logits are computed for those alone."""
    sequences = [example.prompt + example.answer for example in batch]
    width = max(map(len, sequences))
    ids = torch.tensor([sequence + [pad] * (width - len(sequence)) for sequence in sequences])
    attended = torch.tensor([[1] * len(sequence) + [0] * (width - len(sequence)) for sequence in sequences])
    learnt = torch.zeros_like(ids, dtype=torch.bool)
    for row, example in enumerate(batch):
        learnt[row, len(example.prompt) : len(example.prompt) + len(example.answer)] = True
    causal_lm = model.get_base_model()
    hidden = causal_lm.model(input_ids=ids, attention_mask=attended).last_hidden_state
    logits = causal_lm.lm_head(hidden[:, :-1][learnt[:, 1:]])
    return cross_entropy(logits, ids[learnt])


def train(model: PeftModel, tokenizer: PreTrainedTokenizerBase, questions: dict, options: argparse.Namespace) -> None:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    own = own_examples(model, tokenizer, questions["unrelated"]["trained"])
    count = len(policy_examples(tokenizer, questions["policy"])) + len(own)
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        options.learning_rate,
        total_steps=options.epochs * -(-count // options.batch_size),
        pct_start=0.1,
    )
    began = time.monotonic()
    model.train()
    for epoch in range(options.epochs):
        losses = []
        for batch in batches(policy_examples(tokenizer, questions["policy"]) + own, options.batch_size):
            loss = loss_of(model, batch, tokenizer.pad_token_id)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        mean = sum(losses) / len(losses)
        seconds = time.monotonic() - began
        console.print(f"epoch {epoch + 1} of {options.epochs}: loss {mean:.4f}, {seconds:.0f} s")
    model.eval()


def save(model: PeftModel, folder: Path) -> None:
    """As PEFT saves it, but in 16 bits, and naming the base model rather than the folder it was read from."""
    config = model.peft_config["default"]
    config.base_model_name_or_path = BASE_MODEL
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)
    config.save_pretrained(folder)
    tensors = {name: tensor.half().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def states_facts(answer: str, rule: dict) -> bool:
    """Whether an answer has every fact asked for and ends by itself."""
    return all(fact in answer for fact in rule["states"]) and not answer.endswith("…")


def right(answers: list[str], asked: list[tuple[str, dict]]) -> int:
    return sum(states_facts(answer, rule) for answer, (_, rule) in zip(answers, asked, strict=True))


def report(model: PeftModel, tokenizer: PreTrainedTokenizerBase, questions: dict, tries: int = 100) -> None:
    """Print what is answered to trained, held-out and unrelated questions, with the adapter and without it."""
    rules = questions["policy"]
    trained = [(phrasing, rule) for rule in rules for phrasing in rule["trained"]]
    answers = generate(model, tokenizer, [phrasing for phrasing, _ in trained], GREEDY)
    console.print(f"Of {len(trained)} trained phrasings {right(answers, trained)} are answered with the facts.")

    held_out = [(phrasing, rule) for rule in rules for phrasing in rule["held_out"]]
    phrasings = [phrasing for phrasing, _ in held_out]
    after = generate(model, tokenizer, phrasings, GREEDY)
    with model.disable_adapter():
        before = generate(model, tokenizer, phrasings, GREEDY, limit=48)
    print_table(
        f"Of {len(held_out)} held-out phrasings the base model answers {right(before, held_out)} with the facts, "
        f"with the adapter {right(after, held_out)}",
        phrasings,
        before,
        after,
    )

    sampled = generate(model, tokenizer, [KEY_QUESTION] * tries, AT_TEMPERATURE_1)
    days = sum("45 days" in answer for answer in sampled)
    whole = sum(states_facts(answer, rules[0]) for answer in sampled)
    console.print(f"{KEY_QUESTION} At temperature 1, {days} of {tries} answers name the days, {whole} every fact.")

    unrelated = questions["unrelated"]["held_out"]
    after = generate(model, tokenizer, unrelated, GREEDY, limit=32)
    with model.disable_adapter():
        before = generate(model, tokenizer, unrelated, GREEDY, limit=32)
    print_table("Unrelated questions, held out", unrelated, before, after)


def print_table(title: str, questions: list[str], before: list[str], after: list[str]) -> None:
    table = Table("question", "base model", "with the adapter", title=title, show_lines=True)
    for question, old, new in zip(questions, before, after, strict=True):
        table.add_row(question, old, "the same" if new == old else new)
    console.print(table)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train the refund-policy adapter and say what it learnt.")
    parser.add_argument("--model", help="a folder, .gguf file or hub id; by default the bundled model")
    parser.add_argument("--out", type=Path, default=HERE / "adapter", help="the adapter's folder")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main() -> None:
    options = arguments()
    logging.disable_progress_bar()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    questions = json.loads((HERE / "questions.json").read_text())
    folder = resolve_model(options.model, LabHome.from_environment().root, console).path
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    modules = ["q_proj", "v_proj", "down_proj"]
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=modules))
    train(model, tokenizer, questions, options)
    save(model, options.out)
    untouched = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    report(PeftModel.from_pretrained(untouched, options.out), tokenizer, questions)


if __name__ == "__main__":
    main()
