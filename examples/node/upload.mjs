// Register a model and stream its file, with Node alone: node examples/node/upload.mjs MODEL
//
// Every request is signed by HMAC (RFC 9421). The file is read twice, to hash it and to send it, and
// never stands in memory. `Expect: 100-continue` asks first: of a file that the server has, no byte
// is sent. BASE_URL, CA_FILE, KEY_ID and KEY_SECRET (base64) name the server and the key.

import { createHash, createHmac, randomBytes } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import https from "node:https";
import { pipeline } from "node:stream/promises";

const { BASE_URL, CA_FILE, KEY_ID, KEY_SECRET } = process.env;
const agent = new https.Agent({ ca: CA_FILE && readFileSync(CA_FILE), keepAlive: true });

function signed(method, url, { length, type, sha256 } = {}) {
  const headers = {};
  const covered = {
    "@method": method,
    "@authority": url.host.toLowerCase().replace(/:443$/, ""),
    "@path": url.pathname,
    "@query": url.search || "?",
  };
  if (length !== undefined) {
    headers["content-digest"] = `sha-256=:${sha256.toString("base64")}:`;
    headers["content-length"] = String(length);
    headers["content-type"] = type;
    Object.assign(covered, headers);
  }
  const now = Math.floor(Date.now() / 1000);
  const names = Object.keys(covered).map((name) => `"${name}"`).join(" ");
  const params =
    `(${names});created=${now};expires=${now + 60};nonce="${randomBytes(16).toString("hex")}"` +
    `;keyid="${KEY_ID}";alg="hmac-sha256";tag="spectrogrampredictor"`;
  const lines = Object.entries(covered).map(([name, value]) => `"${name}": ${value}`);
  const base = [...lines, `"@signature-params": ${params}`].join("\n");
  const signature = createHmac("sha256", Buffer.from(KEY_SECRET, "base64")).update(base).digest("base64");
  return { ...headers, "signature-input": `sig=${params}`, signature: `sig=:${signature}:` };
}

function answered(request) {
  return new Promise((resolve, reject) => {
    request.on("error", reject);
    request.on("response", async (response) => {
      let text = "";
      for await (const piece of response) text += piece;
      if (response.statusCode >= 400) reject(new Error(`${response.statusCode} ${text}`));
      else resolve({ status: response.statusCode, body: JSON.parse(text) });
    });
  });
}

async function register(digest) {
  const body = JSON.stringify({ digest });
  const url = new URL("/v1/models", BASE_URL);
  const told = { length: Buffer.byteLength(body), type: "application/json" };
  const headers = signed("POST", url, { ...told, sha256: createHash("sha256").update(body).digest() });
  const request = https.request(url, { method: "POST", agent, headers });
  request.end(body);
  return answered(request);
}

async function put(path, sha256, size) {
  const url = new URL(`/v1/models/${sha256.toString("hex")}/file`, BASE_URL);
  const headers = signed("PUT", url, { length: size, type: "application/octet-stream", sha256 });
  const request = https.request(url, { method: "PUT", agent, headers: { ...headers, expect: "100-continue" } });
  const answer = answered(request);
  let sent = 0;
  request.on("continue", () => {
    const file = createReadStream(path);
    file.on("data", (piece) => (sent += piece.length));
    pipeline(file, request).catch(() => {}); // the answer says why
  });
  request.flushHeaders();
  const { status, body } = await answer;
  request.destroy(); // where nothing was wanted
  return { status, sent, state: body.state };
}

const path = process.argv[2];
const hash = createHash("sha256");
for await (const piece of createReadStream(path)) hash.update(piece);
const sha256 = hash.digest();
await register(sha256.toString("hex"));
const { status, sent, state } = await put(path, sha256, statSync(path).size);
console.log(`${sha256.toString("hex")} ${state}: ${status}, ${sent} bytes sent`);
agent.destroy();
