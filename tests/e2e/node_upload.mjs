// Large bodies by Node's own clients: node node_upload.mjs <URL> <bytes> <times>.
// Writes one JSON object: for each client, the statuses or error codes that it saw.

import http from "node:http";

const [url, size, times] = process.argv.slice(2);
const body = Buffer.alloc(Number(size), "x");

function byFetch() {
  return fetch(url, { method: "POST", body })
    .then(async (answer) => [answer.status, (await answer.json()).error.code].join(" "))
    .catch((error) => String(error.cause?.code ?? error.message));
}

function byRequest(headers) {
  return new Promise((resolve) => {
    const request = http.request(url, { method: "POST", headers }, (answer) => {
      let text = "";
      answer.on("data", (piece) => (text += piece));
      answer.on("end", () => resolve([answer.statusCode, JSON.parse(text).error.code].join(" ")));
      answer.on("error", (error) => resolve(error.code));
    });
    request.on("error", (error) => resolve(error.code));
    request.end(body);
  });
}

const seen = { fetch: [], request: [], chunked: [], expect: [] };
for (let time = 0; time < Number(times); time++) {
  seen.fetch.push(await byFetch());
  seen.request.push(await byRequest({ "content-length": body.length }));
  seen.chunked.push(await byRequest({ "transfer-encoding": "chunked" }));
  seen.expect.push(await byRequest({ "content-length": body.length, expect: "100-continue" }));
}
console.log(JSON.stringify(seen));
