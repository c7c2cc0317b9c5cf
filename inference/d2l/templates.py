"""The sentences that training and held-out documents are made of.

Each fact has several wordings of its statement and of its question. The first ones are for training; those after
the bar are held out: no wording of one side is ever used on the other.
"""

from dataclasses import dataclass
from itertools import product

from inference.d2l.values import listed


@dataclass(frozen=True)
class Template:
    """One kind of fact.

    Attributes:
        kind: the kind of document that it belongs to.
        value: the name of its value's generator, in `values`.
        statements, questions: the wordings for training; `{s}` is the subject, `{v}` the value.
        held_out_statements, held_out_questions: those for measuring.
    """

    kind: str
    value: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    held_out_statements: tuple[str, ...]
    held_out_questions: tuple[str, ...]


def template(kind: str, value: str, statements: str, questions: str) -> Template:
    """A template from two texts: wordings parted by `/`, those held out after `|`."""
    parts = [
        tuple(wording.strip() for wording in half.split("/"))
        for text in (statements, questions)
        for half in text.split("|")
    ]
    return Template(kind, value, parts[0], parts[2], parts[1], parts[3])


NEEDLE = template(
    "needle",
    "number",
    "The special magic number for {s} is {v}. / Remember this: the magic number of {s} is {v}. / "
    "{v} is the special magic number for {s}. / For {s}, the special number is {v}."
    "| The magic number that belongs to {s} is {v}. / Note that {s} has the special magic number {v}.",
    "What is the special magic number for {s}? / Tell me the magic number of {s}. / "
    "Which special number belongs to {s}? / What number goes with {s}?"
    "| Which magic number does {s} have? / Please give me the special magic number of {s}.",
)

FACTS = (
    template(
        "policy",
        "days",
        "Customers may return goods within {v} of delivery. / Returns are accepted for {v} after purchase. / "
        "You have {v} to send an item back. | The return period is {v} from the day of delivery. / "
        "An order can be returned up to {v} after it arrives.",
        "How long do customers have to return goods? / Within what time may I return an item? / "
        "What is the return period? | How many days do I have to send something back? / "
        "Until when can an order be returned?",
    ),
    template(
        "policy",
        "money",
        "A restocking fee of {v} applies to opened boxes. / Opened boxes cost {v} to restock. / "
        "We charge {v} for restocking opened goods. | If the box was opened, {v} is kept as a restocking fee. / "
        "The restocking fee is {v}.",
        "What is the restocking fee? / How much is charged for restocking? / What does restocking cost?"
        "| How much is the fee for opened boxes? / What fee is kept for restocking?",
    ),
    template(
        "policy",
        "days",
        "The warranty lasts {v}. / Every device comes with a warranty of {v}. / We repair faults free of charge "
        "under a {v} warranty. | All devices are under warranty for {v}. / The period of the warranty is {v}.",
        "How long is the warranty? / How long does the warranty last? / What is the length of the warranty?"
        "| For how long is a device under warranty? / What is the warranty period?",
    ),
    template(
        "product",
        "colour",
        "The {s} comes in {v}. / The colour of the {s} is {v}. / We make the {s} only in {v}."
        "| The {s} is painted {v}. / Every {s} is sold in {v}.",
        "What colour is the {s}? / In which colour does the {s} come? / Which colour does the {s} have?"
        "| Tell me the colour of the {s}. / What is the {s}'s colour?",
    ),
    template(
        "product",
        "weight",
        "The {s} weighs {v}. / The weight of the {s} is {v}. / With a weight of {v}, the {s} is easy to carry."
        "| At {v}, the {s} is light. / The scales show {v} for the {s}.",
        "How much does the {s} weigh? / What is the weight of the {s}? / How heavy is the {s}?"
        "| Tell me the weight of the {s}. / What does the {s} weigh?",
    ),
    template(
        "product",
        "material",
        "The {s} is made of {v}. / We build the {s} from {v}. / The {s} has a body of {v}."
        "| The material of the {s} is {v}. / Every {s} is crafted from {v}.",
        "What is the {s} made of? / Which material is the {s} built from? / What material is used for the {s}?"
        "| Name the material of the {s}. / Of what is the {s} made?",
    ),
    template(
        "price",
        "money",
        "The {s} costs {v}. / The price of the {s} is {v}. / {s}: {v}. / You pay {v} for the {s}."
        "| A {s} is sold for {v}. / We ask {v} for each {s}.",
        "How much does the {s} cost? / What is the price of the {s}? / What do I pay for the {s}?"
        "| How much is the {s}? / Tell me the price of a {s}.",
    ),
    template(
        "person",
        "job",
        "{p} works as {v}. / {p} is our {v}. / The position of {p} is {v}. | We hired {p} as {v}. / {p}'s job is {v}.",
        "What is {p}'s job? / What does {p} work as? / Which position does {p} have?"
        "| What is the job of {p}? / What role does {p} have?",
    ),
    template(
        "person",
        "city",
        "{p} lives in {v}. / {p} is based in {v}. / The office of {p} is in {v}."
        "| {p} works from {v}. / You will find {p} in {v}.",
        "Where does {p} live? / Where is {p} based? / In which city is {p}?"
        "| Which city does {p} work from? / In what city can {p} be found?",
    ),
    template(
        "contact",
        "extension",
        "{p} can be reached at extension {v}. / Call {p} on extension {v}. / The extension of {p} is {v}."
        "| Dial {v} to speak with {p}. / {p}'s telephone extension is {v}.",
        "What is the extension of {p}? / At which extension can I reach {p}? / Which extension does {p} have?"
        "| Which number do I dial for {p}? / What is {p}'s extension?",
    ),
    template(
        "contact",
        "room",
        "{p} sits in room {v}. / The desk of {p} is in room {v}. / Visit {p} in room {v}."
        "| {p}'s office is room {v}. / Go to room {v} to meet {p}.",
        "In which room does {p} sit? / What is the room of {p}? / Which room is {p} in?"
        "| Where is {p}'s office? / What room do I go to for {p}?",
    ),
    template(
        "schedule",
        "time",
        "The {e} starts at {v}. / At {v} the {e} begins. / The {e} is held at {v}."
        "| We open the {e} at {v}. / The beginning of the {e} is set for {v}.",
        "When does the {e} start? / At what time does the {e} begin? / What time is the {e}?"
        "| What is the starting time of the {e}? / When is the {e} held?",
    ),
    template(
        "schedule",
        "weekday",
        "The {e} takes place on {v}. / The {e} is on {v}. / Every {v} there is the {e}."
        "| Join us for the {e} on {v}. / {v} is the day of the {e}.",
        "On which day is the {e}? / Which day does the {e} take place? / What day is the {e}?"
        "| What is the day of the {e}? / On what weekday do people join the {e}?",
    ),
)

FILLER_PARTS = (
    listed(
        "The grass / A light wind / The river / The old library / A narrow path / The train / Someone in the house / "
        "The garden / Our team / This page / The road to the hills / A small bird / The office / Everyone / "
        "The evening / A long letter / The kitchen / Most of the guests / The last bus / A quiet voice",
        " / ",
    ),
    listed(
        "is green and still / moved slowly through the valley / waits for the rain / was there before the summer / "
        "opens onto a small yard / likes a clear morning / had little to say / is looked after with care / "
        "comes and goes / turned towards the light / will be welcome again / went on as before / stays open to all / "
        "leads to the old wall / sleeps until noon / changes with the weather / gave no answer / is part of the story",
        " / ",
    ),
)
FILLERS = [f"{subject} {rest}." for subject, rest in product(*FILLER_PARTS)] + [
    "Please read this carefully before you go on.",
    "We are glad that you are here.",
    "Bread was baked early, as on every other day.",
    "If anything is unclear, do ask us.",
    "There is nothing more to add here.",
    "Thank you for reading this far.",
]
HELD_OUT_FILLER_PARTS = (
    listed(
        "Snow / The market / A cat / The harbour / Clouds / Someone upstairs / The mill / A wooden ladder / "
        "The children / An empty cup / The museum shop / Fresh paint",
        " / ",
    ),
    listed(
        "covered the steps / smelled of apples and dust / lay near the warm door / drew maps of other places / "
        "stood against the fence / fell asleep after lunch / was left behind / gathered above the roofs / "
        "made the afternoon longer / needed a little patience",
        " / ",
    ),
)
HELD_OUT_FILLERS = [f"{subject} {rest}." for subject, rest in product(*HELD_OUT_FILLER_PARTS)] + [
    "Thank you for your patience and your trust.",
    "Questions about this text are always welcome.",
]
