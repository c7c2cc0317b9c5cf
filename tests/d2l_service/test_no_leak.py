"""Two sessions' documents in one batch: neither answer has anything of the other's."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tests.d2l_service.conftest import internalize
from tests.serving import Tenant

CODES = {"north": "4471", "south": "9025"}
ROUNDS = 4


def test_no_fact_of_one_session_is_in_an_answer_of_the_other(tenant: Tenant) -> None:
    adapters = {
        name: internalize(
            tenant,
            f"The special magic number for the {name} gate is {code}. The gate is green and has two wings.",
            session_key=name,
        ).json()["adapter_id"]
        for name, code in CODES.items()
    }
    together = threading.Barrier(2 * ROUNDS)

    def ask(name: str) -> tuple[str, str]:
        together.wait()
        answer = tenant.ask(
            f"What is the special magic number for the {name} gate?", adapters[name], max_tokens=24
        ).raise_for_status()
        return name, answer.json()["choices"][0]["message"]["content"]

    with ThreadPoolExecutor(2 * ROUNDS) as pool:
        answers = list(pool.map(ask, list(CODES) * ROUNDS))
    for name, text in answers:
        other = next(code for session, code in CODES.items() if session != name)
        assert CODES[name] in text
        assert other not in text
