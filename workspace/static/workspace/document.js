// Asks a document's adapter. The form comes once the document is ready, so its events are caught above it.
"use strict";

function turnIn(talk, role, text) {
  const turn = document.createElement("div");
  turn.className = `turn ${role}`;
  turn.textContent = text;
  talk.append(turn);
  return turn;
}

async function askDocument(form) {
  const question = form.elements.question;
  const card = form.closest(".card");
  const talk = card.querySelector(".talk");
  const facts = card.querySelector(".facts");
  const body = { model: form.dataset.model, messages: [{ role: "user", content: question.value.trim() }], temperature: 0, max_tokens: 200 };
  turnIn(talk, "user", body.messages[0].content);
  const turn = turnIn(talk, "assistant", "");
  turn.classList.add("waiting");
  facts.replaceChildren();
  question.value = "";
  form.elements.send.disabled = true;
  try {
    const took = await streamChat(body, form.dataset.adapter, undefined, (text) => {
      turn.textContent += text;
      talk.scrollTop = talk.scrollHeight;
    });
    await writeFacts(facts, took);
  } catch (error) {
    turnIn(talk, "failed", error.message);
  } finally {
    turn.classList.remove("waiting");
    if (!turn.textContent) turn.remove();
    form.elements.send.disabled = false;
    talk.scrollTop = talk.scrollHeight;
    question.focus();
  }
}

document.addEventListener("submit", (event) => {
  if (event.target.id !== "ask-document") return;
  event.preventDefault();
  if (event.target.elements.question.value.trim()) askDocument(event.target);
});
