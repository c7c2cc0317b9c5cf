// One streamed chat request as every page makes it, and what is said of its answer.
"use strict";

const routing = (adapter) => (adapter ? { "x-hybrie-adapter-id": adapter } : {});

// Calls `say` with each piece of the answer; resolves to what it took. Throws Error with the API's message.
async function streamChat(body, adapter, signal, say) {
  const id = `playground-${crypto.randomUUID()}`;
  const started = performance.now();
  const csrf = document.querySelector("meta[name=csrf-token]").content;
  const answer = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrf, "x-request-id": id, ...routing(adapter) },
    body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }),
    signal,
  });
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const facts = { id, firstToken: null, usage: null, elapsed: 0, headers: answer.headers };
  for await (const chunk of events(answer.body)) {
    if (chunk.error) throw new Error(chunk.error.message);
    facts.usage = chunk.usage ?? facts.usage;
    const text = chunk.choices?.[0]?.delta?.content;
    if (!text) continue;
    facts.firstToken ??= performance.now() - started;
    say(text);
  }
  facts.elapsed = performance.now() - started;
  return facts;
}

async function writeFacts(element, { id, firstToken, usage, elapsed, headers }) {
  const seconds = (ms) => `${(ms / 1000).toFixed(2)} s`;
  const facts = [["total", seconds(elapsed)]];
  if (firstToken !== null) facts.unshift(["first token", seconds(firstToken)]);
  if (usage) facts.unshift(["tokens", `${usage.prompt_tokens} → ${usage.completion_tokens}`]);
  const adapter = headers.get("x-hybrie-adapter-id");
  const route = `${headers.get("x-hybrie-selected-mode")}/${headers.get("x-hybrie-selected-backend")}`;
  facts.push(["route", adapter === "none" ? route : `${route}/${adapter}`]);
  const event = await eventOf(id);
  if (event) facts.push(["cost", event.cost_gbp === null ? "no rate" : `£${event.cost_gbp}`]);
  element.replaceChildren(...facts.map(([name, value]) => {
    const fact = document.createElement("span");
    const strong = document.createElement("b");
    strong.textContent = value;
    fact.append(`${name} `, strong);
    return fact;
  }));
}

// The parsed data of server-sent events, until [DONE]
async function* events(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line.startsWith("data: ") && line !== "data: [DONE]") yield JSON.parse(line.slice(6));
    }
  }
}

async function eventOf(id) {
  const answer = await fetch("/api/v1/usage/events?window=7d&limit=10");
  if (!answer.ok) return null;
  return (await answer.json()).events.find((event) => event.request_id === id) ?? null;
}
