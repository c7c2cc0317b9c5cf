"""What a LlamaIndex application does with `OpenAILike`.

It asks the question of its argument of each model that a line of its input names, and prints what came as a line of
JSON. It reads OPENAI_BASE_URL and OPENAI_API_KEY.
"""

import json
import os
import sys
from typing import Any

import openai
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


def answer(question: str, model: str) -> dict[str, Any]:
    llm = OpenAILike(
        model=model,
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        max_tokens=24,
        temperature=0,
    )
    messages = [ChatMessage(role="user", content=question)]
    try:
        whole = llm.chat(messages)
        streamed = "".join(part.delta or "" for part in llm.stream_chat(messages))
    except openai.APIStatusError as error:
        return {"kind": type(error).__name__, "code": error.code}
    return {
        "whole": whole.message.content,
        "streamed": streamed,
        "output_tokens": whole.raw.usage.completion_tokens,
    }


for line in sys.stdin:
    print(json.dumps(answer(sys.argv[1], line.strip())), flush=True)
