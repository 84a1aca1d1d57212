// The balance of every account by a durable consumer: the server keeps the place, the store what it has seen.
//
//     node durable-consumer.mjs balances.json [--once]
//
// The server delivers an event until it is acknowledged, so it may come twice; the version that is kept for each
// aggregate, in the commit of the effect, tells. `--once` ends when nothing is left to do and prints the balances.

import { hostname } from "node:os";

import { Poison, call, changeOf, store } from "./service.mjs";

const once = process.argv.includes("--once");
const consumer = `/v1/consumers/${process.env.CONSUMER ?? "balances"}`;
// Leases belong to a member. Two processes of one name would be one member.
const member = `${hostname()}-${process.pid}`;
const definition = {
  filter: { types: ["account"] },
  start: "beginning",
  // What a killed process held is delivered again after this time, which is long for one batch.
  ack_deadline_ms: 2000,
  // A lease that ran out is an attempt, too: being killed now and then must not park anything.
  retry: { attempts: 10, first_pause_ms: 200, longest_pause_ms: 5000 },
};

const { document, commit } = await store(process.argv[2], { seen: [], balances: [] });
const seen = new Map(document.seen);
const balances = new Map(document.balances);

/** Applies an event, unless this store has it: then it was delivered again, and nothing changes. */
function apply(event) {
  const aggregate = `${event.source}/${event.subject}`;
  const version = Number(event.sequence);
  if (version <= (seen.get(aggregate) ?? 0)) return;
  const cents = changeOf(event); // Before anything is changed: a poison event leaves nothing behind.
  balances.set(event.subject, (balances.get(event.subject) ?? 0) + cents);
  seen.set(aggregate, version);
}

/** Acknowledges or refuses. A lease that is not taken has run out: its event comes again, and `seen` knows it. */
async function settle(how, leases, more = {}) {
  if (leases.length === 0) return;
  const body = { member, leases, ...more };
  const { status, content } = await call("POST", `${consumer}/${how}`, { body, taken: [200, 409] });
  for (const { reason, detail } of status === 409 ? content.refused : []) {
    console.error(`${how}: ${reason}: ${detail}`);
  }
}

await call("PUT", consumer, { body: definition });
for (;;) {
  const wish = { member, max: 50, wait_ms: once ? 200 : 20_000 };
  const batch = (await call("POST", `${consumer}/fetch`, { body: wish })).content.events;
  const done = [];
  const poison = [];
  for (const { lease, event } of batch) {
    try {
      apply(event);
      done.push(lease);
    } catch (why) {
      if (!(why instanceof Poison)) throw why;
      poison.push([lease, why.message]);
    }
  }
  if (done.length > 0) await commit({ seen: [...seen], balances: [...balances] }); // One for the batch.
  // Only now. Acknowledged before the commit, an event would be lost with a process that ends in between.
  await settle("ack", done);
  for (const [lease, reason] of poison) {
    await settle("nack", [lease], { reason, park: true });
  }
  if (once && batch.length === 0 && (await call("GET", consumer)).content.lag.events === 0) break;
}

console.log(JSON.stringify(Object.fromEntries(balances)));
