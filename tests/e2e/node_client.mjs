// The `openai` package of Node.js against a running Signalbox: node node_client.mjs <folder of node_modules> <base URL>.
// Writes one JSON object with what it saw; which of it is right, the test that starts it knows.

import { createRequire } from "node:module";
import { join } from "node:path";

const [folder, baseURL] = process.argv.slice(2);
const OpenAI = createRequire(join(folder, "package.json"))("openai").default;
const client = new OpenAI({ baseURL, apiKey: "the-client-key", maxRetries: 2 });
const messages = [{ role: "user", content: "Grüße, 世界 🦊" }];
const tools = [
  {
    type: "function",
    function: {
      name: "get_weather",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
  },
];

async function errorOf(ask) {
  try {
    await ask();
    return null;
  } catch (error) {
    return { kind: error.constructor.name, status: error.status ?? null, code: error.code ?? null };
  }
}

const seen = {};

seen.models = [];
for await (const model of client.models.list()) seen.models.push(model.id);
seen.model = (await client.models.retrieve("up/vendor/model-x:free@1~b")).id;

const answer = await client.chat.completions.create({ model: "tier/low", messages }).withResponse();
seen.text = answer.data.choices[0].message.content;
seen.route = answer.response.headers.get("x-router-route");
seen.requestId = answer.data._request_id;

seen.streamed = "";
seen.usage = null;
const stream = await client.chat.completions.create({
  model: "tier/low",
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? "";
  seen.usage = chunk.usage ?? seen.usage;
}

const called = await client.chat.completions.stream({ model: "auto", messages, tools }).finalChatCompletion();
seen.tool = called.choices[0].message.tool_calls[0].function;

const debugged = await client.chat.completions.create({ model: "cheap", messages, router: { debug: true } });
seen.chosen = debugged.router.chosen;

const written = await client.responses.create({ model: "tier/low", input: messages[0].content });
seen.response = written.output_text;
const events = client.responses.stream({
  model: "auto",
  input: messages,
  tools: tools.map(({ type, function: { name, parameters } }) => ({ type, name, parameters, strict: false })),
});
seen.kinds = [];
for await (const event of events) seen.kinds.push(event.type);
seen.responseTool = (await events.finalResponse()).output.find((item) => item.type === "function_call");

seen.notFound = await errorOf(() => client.chat.completions.create({ model: "tier/lwo", messages }));
seen.badRequest = await errorOf(() => client.chat.completions.create({ model: "up/small", messages, n: 0 }));
seen.exhausted = await errorOf(() => client.chat.completions.create({ model: "open/status-500-node", messages }));
seen.limited = await errorOf(() => client.chat.completions.create({ model: "open/status-429-node", messages }));
seen.broken = await errorOf(async () => {
  const cut = await client.chat.completions.create({ model: "open/x:cut", messages, stream: true });
  for await (const chunk of cut) void chunk;
});

console.log(JSON.stringify(seen));
