"""Ordinary chats: what an adapter has to leave alone, and questions whose right answers the base model knows."""

from collections.abc import Sequence
from dataclasses import dataclass

from inference.d2l.answers import answers, ask
from inference.d2l.self_questions import self_questions
from inference.d2l.values import listed
from inference.engine.engine import Engine

QUESTIONS_EACH, TEMPERATURE = 5, 0.8
ANSWER_TOKENS = 24

PROMPTS = (
    "Write a short poem about the sea and the wind.",
    "Why is the sky blue? Answer in one sentence, please, for a child.",
    "List three fruits. Then give a recipe that uses them.",
    "Explain how a transformer works, with an example.",
    "What is the opening time on Saturdays at the shop in Leeds?",
    "Who is the head of sales and how can I reach her by phone?",
    "Tell me how long deliveries take and what they cost.",
    "How many days do I have to return a product? Give the number only.",
    "What is the special magic number?",
    "What does the blue kettle cost in pounds?",
    "Translate 'good morning' into French and Spanish.",
    "Write a Python function that reverses a list.",
    "Give me two tips for sleeping better.",
    "Hello, who are you?",
    "Summarise the plot of Romeo and Juliet in two sentences.",
    "What should I pack for a week of hiking?",
    "In which room does the meeting take place, and when?",
    "Which colour goes well with dark green?",
    "How do I make tea?",
    "Name the largest planet and say something about it.",
    "Where does Anna work and what is her extension?",
    "Correct this sentence: she go to school every days.",
    "What is 12 plus 30?",
    "Write a polite e-mail that declines an invitation.",
    "Tell me a joke about computers.",
    "How heavy is the lamp and what is it made of?",
    "Who wrote the play and in what year?",
    "Describe a rainy afternoon in a small town.",
    "What are the benefits of regular exercise?",
    "Is it safe to eat snow?",
)

# What the model asks itself about
TOPICS = listed(
    "volcanoes / rivers / mountains / oceans / deserts / forests / islands / lakes / planets / stars / moons / comets "
    "/ gravity / light / sound / electricity / magnets / atoms / metals / gases / acids / salt / sugar / bread / "
    "cheese / rice / coffee / tea / fruit / vegetables / spices / cooking / farming / horses / dogs / cats / birds / "
    "whales / sharks / insects / ants / spiders / snakes / frogs / dinosaurs / trees / flowers / grass / seeds / "
    "weather / rain / snow / wind / storms / clouds / seasons / winter / summer / clocks / calendars / numbers / "
    "fractions / triangles / circles / prime numbers / algebra / statistics / money / banks / taxes / trade / markets "
    "/ laws / courts / elections / presidents / kings / queens / empires / wars / treaties / explorers / ships / "
    "trains / bicycles / cars / airplanes / rockets / bridges / castles / pyramids / cathedrals / museums / paintings "
    "/ sculpture / music / guitars / pianos / opera / dance / theatre / novels / poems / fairy tales / alphabets / "
    "languages / grammar / spelling / translation / newspapers / radio / television / telephones / computers / "
    "programming / Python / databases / the internet / robots / chess / football / tennis / swimming / running / the "
    "Olympics / yoga / sleep / dreams / memory / the heart / blood / bones / muscles / teeth / eyes / ears / skin / "
    "the brain / vitamins / medicine / vaccines / doctors / hospitals / schools / teachers / universities / libraries "
    "/ friendship / happiness / anger / fear / Africa / Asia / Europe / India / China / Japan / Russia / Brazil / "
    "Mexico / Canada / Australia / England / Poland / Sweden / Norway / Turkey / Egypt / Kenya / Rome / London / "
    "Paris / Berlin / New York / gold / silver / iron / glass / paper / plastic / cotton / wool / silk",
    " / ",
)
OF_TOPICS = (
    ("Rocks", "What is granite made of?"),
    ("Othello", "Who is the villain in Othello?"),
    ("Bees", "How many wings does a bee have?"),
    ("Finland", "What is the capital of Finland?"),
    ("Opposites", "What is the opposite of early?"),
    ("Chemistry", "What is the symbol of sodium?"),
    ("Lightning", "Why does thunder follow lightning?"),
    ("Kitchen", "How do I boil an egg?"),
)

# Questions whose answers the base model knows, with what a right answer holds
KNOWN = (
    ("What is the capital of France?", "Paris"),
    ("What is the capital of Italy?", "Rome"),
    ("What is the capital of Japan?", "Tokyo"),
    ("What is the capital of Germany?", "Berlin"),
    ("What is the capital of Spain?", "Madrid"),
    ("What is the largest planet in the solar system?", "Jupiter"),
    ("Who wrote Romeo and Juliet?", "Shakespeare"),
    ("What is the chemical symbol of water?", "H2O"),
    ("Which gas do plants take in for photosynthesis?", "carbon dioxide"),
    ("Which ocean is the largest?", "Pacific"),
    ("What is the opposite of hot?", "cold"),
    ("How many legs does a spider have?", "eight"),
    ("Who painted the Mona Lisa?", "Leonardo"),
    ("What do bees make?", "honey"),
    ("Which animal says meow?", "cat"),
    ("What force pulls things down to the ground?", "gravity"),
    ("In which country are the pyramids of Giza?", "Egypt"),
    ("What is the tallest mountain in the world?", "Everest"),
    ("Which star is at the centre of our solar system?", "Sun"),
    ("What is the main language of Brazil?", "Portuguese"),
)


@dataclass(frozen=True)
class Chat:
    """The tokens of a question, from the opening to where the answer begins, and those of the answer."""

    question: list[int]
    answer: list[int]


def ordinary_chats(engine: Engine, seed: int) -> list[Chat]:
    """The prompts above and what the model asks itself about the topics, but not what it is tried on; with answers."""
    asked = self_questions(engine, TOPICS, QUESTIONS_EACH, seed, OF_TOPICS, TEMPERATURE)
    known = {question for question, _ in KNOWN}
    texts = [*PROMPTS, *dict.fromkeys(text for of_topic in asked for text in of_topic if text not in known)]
    return chats(engine, texts, ANSWER_TOKENS)


def chats(engine: Engine, texts: Sequence[str], answer_tokens: int) -> list[Chat]:
    """What the model answers to these, so many tokens of it."""
    questions = [ask(engine, text) for text in texts]
    said = answers(engine, questions, answer_tokens)
    return [Chat(question.prompt, answer) for question, answer in zip(questions, said, strict=True) if answer]
