"""The subjects and values that fill the templates; what is held out is told by each text's checksum."""

import random
import zlib
from collections.abc import Callable
from itertools import product

HELD_OUT_SHARE = 4  # one value in four


def listed(text: str, between: str = ", ") -> list[str]:
    return text.split(between)


FIRST = [
    "Anna",
    "Omar",
    "Lucy",
    "Peter",
    "Mira",
    "Hugo",
    "Ivy",
    "Noah",
    "Clara",
    "Felix",
    "Rosa",
    "Tariq",
    "Elsa",
    "Bruno",
    "Nina",
    "Oscar",
    "Jade",
    "Liam",
    "Vera",
    "Simon",
]
LAST = listed(
    "Berg Cole Dunn Ellis Frost Grant Hale Irving Keane Lowe Marsh Novak Price Quinn Reyes Stone Torres Webb", " "
)
MAKES = listed(
    "Alto Brisa Cinder Delta Ember Fable Garnet Halo Indigo Juno Kestrel Lumen Mistral Nimbus Orbit Pico", " "
)
THINGS = listed("kettle lamp backpack chair blender tent bicycle camera speaker heater desk jacket", " ")
EVENTS = listed(
    "yoga class / book club / staff meeting / chess evening / cooking course / guided tour / choir rehearsal / "
    "safety training / poetry reading / film night / language exchange / garden workshop / pottery lesson / "
    "swimming course / budget review / quiz night",
    " / ",
)
PLACES = listed(
    "Oslo Lisbon Leeds Turin Ghent Porto Cork Basel Vienna Malmo Lyon Krakow Seville Bergen Dublin Tartu", " "
)
COLOURS = listed("red, green, black, white, silver, orange, purple, yellow, brown, pink, dark blue, light grey")
MATERIALS = listed("steel, oak, bamboo, glass, cotton, leather, aluminium, ceramic, wool, copper, cork, plastic")
JOBS = listed(
    "accountant, nurse, head of sales, gardener, translator, plumber, lawyer, data analyst, cook, librarian, "
    "site manager, driver, editor, receptionist, electrician, buyer",
    ", ",
)
WEEKDAYS = listed("Monday Tuesday Wednesday Thursday Friday Saturday Sunday", " ")


def held_out(text: str) -> bool:
    """Whether the text belongs to the held-out side, whatever the seed."""
    return zlib.crc32(text.encode()) % HELD_OUT_SHARE == 0


def choose(draw: random.Random, texts: list[str], unseen: bool) -> str:
    """One of those texts that lie on the asked side."""
    return draw.choice([text for text in texts if held_out(text) == unseen])


def spread(low: int, high: int, form: str, step: int = 1) -> list[str]:
    return [form.format(number) for number in range(low, high, step)]


SUBJECTS: dict[str, list[str]] = {
    "s": [f"{make} {thing}" for make, thing in product(MAKES, THINGS)],
    "p": [f"{first} {last}" for first, last in product(FIRST, LAST)],
    "e": EVENTS,
}

VALUES: dict[str, list[str]] = {
    "days": spread(3, 120, "{} days"),
    "money": [f"{pounds}.{pence} pounds" for pounds in range(2, 200) for pence in ("00", "25", "50", "75", "99")],
    "colour": COLOURS,
    "weight": spread(150, 4000, "{} grams", 25),
    "material": MATERIALS,
    "job": JOBS,
    "city": PLACES,
    "extension": spread(1000, 9999, "{}", 7),
    "room": spread(10, 480, "{}"),
    "time": [
        f"{hour}:{minute} {half}"
        for hour in range(1, 13)
        for minute in ("00", "15", "30", "45")
        for half in ("am", "pm")
    ],
    "weekday": WEEKDAYS,
}

NEEDLE_SUBJECTS = [
    f"{name} {thing}" for name, thing in product(PLACES, ("tower", "garden", "bridge", "museum", "station"))
]
Chooser = Callable[[random.Random, bool], str]


def number(draw: random.Random, unseen: bool) -> str:
    """A number of 3 to 6 digits on the asked side."""
    while True:
        text = str(draw.randrange(100, 10 ** draw.randint(3, 6)))
        if held_out(text) == unseen:
            return text
