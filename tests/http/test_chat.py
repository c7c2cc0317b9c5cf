import json
from collections.abc import Callable

from openai import OpenAI

from tests.http.conftest import ALIAS, MODEL, Tenant

QUESTION = "What is the capital of France?"


def test_it_works(tenant: Tenant) -> None:
    answer = tenant.ask(QUESTION, max_tokens=24)
    assert answer.status_code == 200
    body = answer.json()
    assert "Paris" in body["choices"][0]["message"]["content"]
    assert body["object"] == "chat.completion"
    assert body["usage"]["total_tokens"] == body["usage"]["prompt_tokens"] + body["usage"]["completion_tokens"]
    assert body["usage"]["prompt_tokens_details"].keys() == {"cached_tokens"}
    assert answer.headers["x-hybrie-selected-mode"] == "local"
    assert answer.headers["x-hybrie-selected-backend"] == "local"
    assert answer.headers["x-hybrie-adapter-id"] == "none"


def test_an_alias_names_the_same_model(tenant: Tenant) -> None:
    answer = tenant.ask(QUESTION, model=ALIAS, max_tokens=8)
    assert answer.json()["model"] == ALIAS


def test_the_proxied_paths_serve_the_same(tenant: Tenant) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "temperature": 0}
    paths = ("/v1/chat/completions", "/api/v1/hybrie/chat/completions", "/api/v1/inference/chat/completions/")
    answers = [tenant.http.post(path, json=body) for path in paths]
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.json()["choices"][0]["message"]["content"] for answer in answers}) == 1


def test_a_stream_says_what_the_whole_answer_says(tenant: Tenant) -> None:
    whole = tenant.ask(QUESTION, max_tokens=24).json()
    streamed = tenant.ask(QUESTION, max_tokens=24, stream=True, stream_options={"include_usage": True})
    assert streamed.headers["content-type"] == "text/event-stream"
    lines = [line.removeprefix("data: ") for line in streamed.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["choices"] == []
    counts = ("prompt_tokens", "completion_tokens", "total_tokens")
    assert [chunks[-1]["usage"][name] for name in counts] == [whole["usage"][name] for name in counts]
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks if chunk["choices"]]
    assert [reason for reason in reasons if reason] == [whole["choices"][0]["finish_reason"]]


def test_the_openai_sdk_streams_and_answers_through_an_adapter(
    tenant: Tenant, random_adapters: list, base_url: str
) -> None:
    tenant.register("mine", random_adapters[1]).raise_for_status()
    tenant.load("mine").raise_for_status()
    client = OpenAI(base_url=f"{base_url}/v1", api_key=tenant.key, default_headers={"x-hybrie-adapter-id": "mine"})
    ask = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 16}
    whole = client.chat.completions.create(**ask)
    chunks = list(client.chat.completions.create(**ask, stream=True))
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert whole.choices[0].message.content == streamed
    base = tenant.ask(QUESTION, max_tokens=16).json()["choices"][0]["message"]["content"]
    assert streamed != base
    assert tenant.ask(QUESTION, model="mine", max_tokens=16).json()["choices"][0]["message"]["content"] == streamed


def test_several_choices_are_told_apart_and_all_metered(tenant: Tenant) -> None:
    body = tenant.ask("Name an animal.", n=3, temperature=1, seed=7, max_tokens=12).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in body["choices"]}) > 1
    (event,) = tenant.events()
    assert event["output_tokens"] == body["usage"]["completion_tokens"] > 12


def test_a_seed_repeats_an_answer(tenant: Tenant) -> None:
    answers = [
        tenant.ask("Tell me a story.", temperature=1, seed=11, max_tokens=16).json()["choices"][0]["message"]
        for _ in range(2)
    ]
    assert answers[0] == answers[1]


def test_a_stop_string_ends_the_answer_before_it(tenant: Tenant) -> None:
    whole = tenant.ask(QUESTION, max_tokens=24).json()["choices"][0]["message"]["content"]
    word = whole.split()[3]
    stopped = tenant.ask(QUESTION, max_tokens=24, stop=[word]).json()["choices"][0]
    assert stopped["message"]["content"] == whole[: whole.index(word)]
    assert stopped["finish_reason"] == "stop"


def test_log_probabilities_come_for_each_token(tenant: Tenant) -> None:
    body = tenant.ask(QUESTION, max_tokens=5, logprobs=True, top_logprobs=2).json()
    tokens = body["choices"][0]["logprobs"]["content"]
    assert len(tokens) == body["usage"]["completion_tokens"]
    for token in tokens:
        assert len(token["top_logprobs"]) == 2
        assert token["top_logprobs"][0]["token"] == token["token"]
        assert token["logprob"] <= 0
    assert bytes(b for token in tokens for b in token["bytes"]).decode() == body["choices"][0]["message"]["content"]


def test_min_tokens_and_ignore_eos_keep_it_going(tenant: Tenant) -> None:
    body = tenant.ask("Say yes.", max_tokens=40, ignore_eos=True).json()
    assert body["usage"]["completion_tokens"] == 40
    assert body["choices"][0]["finish_reason"] == "length"


def test_content_may_come_in_text_parts(tenant: Tenant) -> None:
    parts = [{"type": "text", "text": "What is the capital "}, {"type": "text", "text": "of France?"}]
    in_parts = tenant.ask(parts, max_tokens=8).json()["choices"][0]["message"]["content"]
    assert in_parts == tenant.ask(QUESTION, max_tokens=8).json()["choices"][0]["message"]["content"]


def test_a_repeated_prompt_is_found_cached_but_never_across_workspaces(
    new_tenant: Callable[[str], Tenant], random_adapters: list
) -> None:
    ours, theirs = new_tenant("ours"), new_tenant("theirs")
    ours.register("mine", random_adapters[1]).raise_for_status()
    ours.load("mine").raise_for_status()
    question = "Cached prompts are found again. " * 20

    def cached(tenant: Tenant, adapter_id: str | None = None) -> int:
        usage = tenant.ask(question, adapter_id, max_tokens=2).json()["usage"]
        return usage["prompt_tokens_details"]["cached_tokens"]

    assert cached(ours) == 0
    assert cached(ours) > 64
    assert cached(theirs) == 0
    assert cached(ours, "mine") == 0
    assert cached(ours, "mine") > 64
    ours.http.post("/v1/adapters/mine/unload").raise_for_status()
    ours.load("mine").raise_for_status()
    assert cached(ours, "mine") == 0
    assert ours.events()[1]["cached_tokens"] > 64
