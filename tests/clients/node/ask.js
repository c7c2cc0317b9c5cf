// What a Node application does with OpenAI's SDK: asks the question of its argument of each model that a line of its
// input names, and prints what came as a line of JSON. The SDK itself reads OPENAI_BASE_URL and OPENAI_API_KEY.
import { createInterface } from "node:readline";
import OpenAI from "openai";

const question = process.argv[2];
const client = new OpenAI();

async function answer(model) {
  const body = { model, messages: [{ role: "user", content: question }], max_tokens: 24, temperature: 0 };
  const whole = await client.chat.completions.create(body);
  const parts = await client.chat.completions.create({ ...body, stream: true });
  let streamed = "";
  for await (const part of parts) streamed += part.choices[0]?.delta?.content ?? "";
  return { whole: whole.choices[0].message.content, streamed, output_tokens: whole.usage.completion_tokens };
}

function refusal(error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  return { kind: error.constructor.name, code: error.code };
}

for await (const model of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(model).catch(refusal)));
}
