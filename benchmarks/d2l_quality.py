"""`python -m benchmarks.d2l_quality`: what Doc-to-LoRA remembers, on wording and facts its training never saw.

Prints the share of questions answered with the asked value: on the base model, with the document in the prompt, and
with the adapter; and how long it takes from the document to the first answer. `--distill N` adds distillation of N
of the fact documents, and of a page of 24 facts, which takes longer.
"""

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from inference.d2l.answers import answers, ask
from inference.d2l.chats import KNOWN
from inference.d2l.data import Document, Question, fact_document, needle_document
from inference.d2l.distill import distill
from inference.d2l.evaluate import in_context, on_base, score, with_adapters
from inference.d2l.held_out import held_out_facts
from inference.d2l.hypernetwork import Hypernetwork
from inference.d2l.internalize import Internalizer
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.hypernetworks import SHIPPED
from inference.model_files import resolve_model
from workspace.home import LabHome

SEED = 2
TIMED = 7
LONG_PAGE = 24  # facts


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, default=48, help="Of each kind.")
    options.add_argument("--dtype", default="auto", help="What the engine computes in.")
    options.add_argument("--distill", type=int, default=0, help="Fact documents to distill.")
    chosen = options.parse_args()
    model = resolve_model(None, LabHome.from_environment().root)
    engine = Engine(EngineConfig(model.path, dtype=chosen.dtype))
    engine.start()
    hypernetwork = Hypernetwork.load(SHIPPED / f"{model.served_name}.safetensors")
    internalizer = Internalizer(hypernetwork, engine.runner.decoder, engine.tokenizer, model.served_name)

    for title, tokens in (("needle, 32 to 256 tokens", (32, 256)), ("needle, 640 to 1,024 tokens", (640, 1024))):
        report(title, engine, internalizer, needles(chosen.documents, tokens))
    facts = held_out_facts(SEED, chosen.documents)
    report("pages of 2 to 4 facts", engine, internalizer, facts)
    unrelated(engine, internalizer, facts[:12])
    delays(engine, internalizer)
    if chosen.distill:
        distilled("distilled pages of facts", engine, internalizer, model.path, facts[: chosen.distill])
        long_page = fact_document(random.Random(f"quality {SEED}"), True, LONG_PAGE)
        distilled("a distilled long page", engine, internalizer, model.path, [long_page])
    engine.stop()


def needles(count: int, tokens: tuple[int, int]) -> list[Document]:
    """A token is about 0.8 words here."""
    draw = random.Random(f"quality {tokens}")
    return [needle_document(draw, True, round(0.8 * draw.randint(*tokens)) - 4) for _ in range(count)]


def report(title: str, engine: Engine, internalizer: Internalizer, documents: Sequence[Document]) -> None:
    base, context = on_base(engine, documents), in_context(engine, documents)
    adapter = with_adapters(engine, documents, internalizer.internalize)
    ratio = score(adapter) / max(score(context), 1e-9)
    print(
        f"{title:28} {len(base):4} questions   base {score(base):.2f}   in context {score(context):.2f}   "
        f"hypernet {score(adapter):.2f}   hypernet / in context {ratio:.2f}",
        flush=True,
    )


def unrelated(engine: Engine, internalizer: Internalizer, documents: Sequence[Document]) -> None:
    """Questions that have nothing to do with the document, on the base model and through adapters."""
    changed = about_anything(documents)
    base = score(on_base(engine, changed[:1]))
    adapter = score(with_adapters(engine, changed, internalizer.internalize))
    count = len(KNOWN) * len(changed)
    print(f"{'unrelated questions':28} {count:4} questions   base {base:.2f}   hypernet {adapter:.2f}", flush=True)


def about_anything(documents: Sequence[Document]) -> list[Document]:
    asked = tuple(Question(text, value) for text, value in KNOWN)
    return [Document(document.text, asked) for document in documents]


def delays(engine: Engine, internalizer: Internalizer) -> None:
    """From 1,000 tokens of document to the last token of a first answer of 8, loading included."""
    document = needles(1, (1000, 1000))[0]
    times: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        for index in range(TIMED):
            started = time.perf_counter()
            made = internalizer.internalize(document.text, Path(home, str(index)))
            engine.load_adapter("timed", Path(home, str(index)))
            answers(engine, [ask(engine, document.questions[0].text, "timed")], 8)
            times.append(time.perf_counter() - started)
            engine.unload_adapter("timed")
    p50, worst = statistics.median(times), max(times)
    print(f"{made.document_tokens} tokens to the first answer: p50 {p50:.2f} s, worst {worst:.2f} s", flush=True)


def distilled(
    title: str, engine: Engine, internalizer: Internalizer, model: Path, documents: Sequence[Document]
) -> None:
    times: list[float] = []
    with tempfile.TemporaryDirectory() as home:
        folders = {document.text: Path(home, str(index)) for index, document in enumerate(documents)}
        for text, folder in folders.items():
            started = time.perf_counter()
            with ProcessPoolExecutor(1, get_context("spawn")) as apart:  # as a worker does it, with no thread of ours
                apart.submit(distill, model, text, folder, ignore, never).result()
            times.append(time.perf_counter() - started)

        def bring(text: str, folder: Path) -> None:
            shutil.copytree(folders[text], folder)

        found = with_adapters(engine, documents, bring)
        anything = with_adapters(engine, about_anything(documents), bring)
    tokens = [len(engine.tokenizer.encode(document.text)) for document in documents]
    context = score(in_context(engine, documents))
    hypernet = score(with_adapters(engine, documents, internalizer.internalize))
    print(
        f"{title:28} {len(found):4} questions   in context {context:.2f}   hypernet {hypernet:.2f}   "
        f"distill {score(found):.2f}   distill / in context {score(found) / max(context, 1e-9):.2f}   "
        f"unrelated {score(anything):.2f}"
    )
    print(f"{'':28} {min(tokens)} to {max(tokens)} tokens   p50 {statistics.median(times):.0f} s each", flush=True)


def ignore(share: float, message: str) -> None:
    """Of the progress."""


def never() -> bool:
    return False


if __name__ == "__main__":
    main()
