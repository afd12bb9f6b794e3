// Check bodies with what their receivers publish, and print what is wrong: {"teams": [[index, problem]…], "discord": …}.
// usage: node check.mjs BODIES.json MODULES   (MODULES: the node_modules of make setup-external)
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [bodies, modules] = process.argv.slice(2);
const sent = JSON.parse(readFileSync(bodies, "utf8"));
globalThis.self = globalThis.window = globalThis; // a bundle for browsers; nothing is rendered
const cards = createRequire(join(modules, "/"))(join(modules, "adaptivecards/dist/adaptivecards.js"));
const discord = await import(pathToFileURL(join(modules, "discord-api-spec/build/discord-api-spec.zod.js")));

function problemsOfCard(content) {
  const context = new cards.SerializationContext(cards.Versions.v1_4);
  const card = new cards.AdaptiveCard();
  card.parse(content, context);
  const parsed = Array.from({ length: context.eventCount }, (_, index) => context.getEventAt(index).message);
  const invalid = card.validateProperties().validationEvents.map((event) => event.message);
  const lost = card.getItemCount() === content.body.length ? [] : ["an element was dropped"];
  return [...parsed, ...invalid, ...lost];
}

const check = {
  teams: (body) => body.attachments.flatMap((attachment) => problemsOfCard(attachment.content)),
  discord: (body) => {
    const found = discord.IncomingWebhookRequestPartialSchema.safeParse(body);
    return found.success ? [] : found.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.code}`);
  },
};
const problems = Object.fromEntries(
  Object.entries(check).map(([name, problemsOf]) => [
    name,
    sent[name].flatMap((body, index) => problemsOf(body).map((problem) => [index, problem])),
  ]),
);
console.log(JSON.stringify(problems));
