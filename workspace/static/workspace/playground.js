// Streams one prompt through the base model and an adapter at once, and says what each answer took.
"use strict";

const field = (id) => document.getElementById(id);
const place = field("playground");
let running = null;

class Pane {
  constructor(name) {
    const section = place.querySelector(`[data-pane=${name}]`);
    this.talk = section.querySelector(".talk");
    this.facts = section.querySelector(".facts");
    this.isBase = name === "base";
    this.messages = [];
  }

  get adapter() { return this.isBase ? "" : field("adapter").value; }
  get isOpen() { return this.isBase || this.adapter !== ""; }

  clear() {
    this.messages = [];
    this.talk.replaceChildren();
    this.facts.replaceChildren();
  }

  add(role, text) {
    const turn = document.createElement("div");
    turn.className = `turn ${role}`;
    turn.textContent = text;
    this.talk.append(turn);
    this.talk.scrollTop = this.talk.scrollHeight;
    return turn;
  }

  async ask(prompt, signal) {
    this.messages.push({ role: "user", content: prompt });
    this.add("user", prompt);
    const turn = this.add("assistant", "");
    turn.classList.add("waiting");
    this.facts.replaceChildren();
    try {
      await this.stream(turn, signal);
    } catch (error) {
      this.messages.pop();
      if (error.name === "AbortError") return;
      this.add("failed", error.message);
    } finally {
      turn.classList.remove("waiting");
      if (!turn.textContent) turn.remove();
    }
  }

  async stream(turn, signal) {
    const facts = await streamChat(requestBody(this.messages), this.adapter, signal, (text) => {
      turn.textContent += text;
      this.talk.scrollTop = this.talk.scrollHeight;
    });
    this.messages.push({ role: "assistant", content: turn.textContent });
    await writeFacts(this.facts, facts);
  }
}

function requestBody(messages) {
  const number = (id) => (field(id).value === "" ? undefined : Number(field(id).value));
  const system = field("system").value.trim();
  return {
    model: place.dataset.model,
    messages: system ? [{ role: "system", content: system }, ...messages] : messages,
    temperature: number("temperature"), top_p: number("top_p"), max_tokens: number("max_tokens"), seed: number("seed"),
  };
}

const panes = [new Pane("base"), new Pane("adapter")];

function writeCode() {
  const prompt = field("prompt").value || panes[0].messages.at(-2)?.content || "What is our refund policy?";
  const body = requestBody([{ role: "user", content: prompt }]);
  const headers = routing(field("adapter").value);
  const quoted = JSON.stringify(body).replaceAll("'", `'\\''`);
  field("as-curl").textContent = [
    `curl ${place.dataset.address}/chat/completions`,
    `  -H "Authorization: Bearer $API_KEY" -H "Content-Type: application/json"`,
    ...Object.entries(headers).map(([name, value]) => `  -H "${name}: ${value}"`),
    `  -d '${quoted}'`,
  ].join(" \\\n");
  const extra = Object.keys(headers).length ? `    extra_headers=${JSON.stringify(headers)},\n` : "";
  const parameters = Object.entries(body).filter(([name, value]) => name !== "messages" && value !== undefined);
  field("as-python").textContent = [
    "import os", "", "from openai import OpenAI", "",
    `client = OpenAI(base_url=${JSON.stringify(place.dataset.address)}, api_key=os.environ["API_KEY"])`,
    "answer = client.chat.completions.create(",
    ...parameters.map(([name, value]) => `    ${name}=${JSON.stringify(value)},`),
    `    messages=${JSON.stringify(body.messages)},`,
    `${extra})`,
    "print(answer.choices[0].message.content)",
  ].join("\n");
}

function setRunning(controller) {
  running = controller;
  field("send").disabled = controller !== null;
  field("stop").hidden = controller === null;
}

field("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const prompt = field("prompt").value.trim();
  if (!prompt || running) return;
  setRunning(new AbortController());
  field("prompt").value = "";
  await Promise.all(panes.filter((pane) => pane.isOpen).map((pane) => pane.ask(prompt, running.signal)));
  setRunning(null);
  writeCode();
  field("prompt").focus();
});
field("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    field("ask").requestSubmit();
  }
});
field("stop").addEventListener("click", () => running?.abort());
field("again").addEventListener("click", () => { for (const pane of panes) pane.clear(); });
field("adapter").addEventListener("change", () => panes[1].clear());
field("ask").addEventListener("input", writeCode);
field("adapter").addEventListener("change", writeCode);
writeCode();
