// A certified OpenID provider (oidc-provider) for tests, with its own login forms, and ways to make it lie.
//
//   node provider.mjs NODE_MODULES REDIRECT_URI
//
// It prints its issuer as JSON. POST /control {"mode": …} has it answer otherwise from then on:
// "" as it should; "rotate" new keys; "forged" a signature by another key; "tampered" other claims under the old
// signature; "nonce", "aud", "iss", "expired", "none" signed as it should, with one thing wrong; "hs256" signed with the
// client's secret.
import { createHmac, createSign, generateKeyPairSync, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { pathToFileURL } from "node:url";

const [modules, redirectUri] = process.argv.slice(2);
const { Provider } = await import(pathToFileURL(`${modules}/oidc-provider/lib/index.js`));
console.info = console.warn = () => {};

const SECRET = "the client's secret, which has some length";
const GROUPS = { eva: ["dev", "sre"], max: ["dev"] };
let mode = "";
let key;
let handler;

const encoded = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

function signed(header, payload, privateKey) {
  const text = `${encoded(header)}.${encoded(payload)}`;
  return `${text}.${createSign("RSA-SHA256").update(text).sign(privateKey, "base64url")}`;
}

function spoiled(token) {
  const [head, body, signature] = token.split(".");
  const header = JSON.parse(Buffer.from(head, "base64url"));
  const payload = JSON.parse(Buffer.from(body, "base64url"));
  switch (mode) {
    case "tampered": return [head, encoded({ ...payload, sub: "somebody-else" }), signature].join(".");
    case "forged": return signed(header, payload, generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey);
    case "nonce": return signed(header, { ...payload, nonce: "another" }, key);
    case "aud": return signed(header, { ...payload, aud: "another-client" }, key);
    case "iss": return signed(header, { ...payload, iss: "http://127.0.0.1:1" }, key);
    case "expired": return signed(header, { ...payload, iat: payload.iat - 7200, exp: payload.iat - 3600 }, key);
    case "none": return `${encoded({ alg: "none" })}.${body}.`;
    case "hs256": {
      const text = `${encoded({ alg: "HS256" })}.${body}`;
      return `${text}.${createHmac("sha256", SECRET).update(text).digest("base64url")}`;
    }
    default: return token;
  }
}

function provider(issuer) {
  const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
  key = pair.privateKey;
  const made = new Provider(issuer, {
    clients: [{ client_id: "herz", client_secret: SECRET, redirect_uris: [redirectUri], application_type: "native" }],
    jwks: { keys: [{ ...pair.privateKey.export({ format: "jwk" }), kid: randomUUID(), use: "sig", alg: "RS256" }] },
    cookies: { keys: ["a key of tests"] },
    scopes: ["openid", "profile", "groups"],
    claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
    features: { devInteractions: { enabled: true } },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, preferred_username: id, groups: GROUPS[id] ?? [] }),
    }),
  });
  made.use(async (ctx, next) => {
    await next();
    if (ctx.path === "/token" && ctx.body?.id_token) ctx.body = { ...ctx.body, id_token: spoiled(ctx.body.id_token) };
  });
  return made.callback();
}

const server = createServer(async (request, response) => {
  if (request.url === "/control") {
    let text = "";
    for await (const part of request) text += part;
    mode = JSON.parse(text).mode;
    if (mode === "rotate") handler = provider(server.issuer);
    response.end();
  } else handler(request, response);
});
server.listen(0, "127.0.0.1", () => {
  server.issuer = `http://127.0.0.1:${server.address().port}`;
  handler = provider(server.issuer);
  process.stdout.write(`${JSON.stringify({ issuer: server.issuer, secret: SECRET })}\n`);
});
