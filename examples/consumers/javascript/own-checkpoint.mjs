// The balance of every account, with the place in the feed kept in the same store: each event counts exactly once.
//
//     node own-checkpoint.mjs balances.json [--once]
//
// What the events do and the checkpoint behind them are one commit. Whatever ends this process, and whenever, both are
// as they were behind the same event. `--once` ends at the end of the feed and prints the balances.

import { setTimeout as sleep } from "node:timers/promises";

import { Poison, call, changeOf, stop, store } from "./service.mjs";

const once = process.argv.includes("--once");
const { document, commit } = await store(process.argv[2], { cursor: "", balances: [] });
const balances = new Map(document.balances);
let { cursor } = document;

/** The next events, the cursor behind them, and whether they are the last ones. */
async function nextPage() {
  const path = `/v1/events?type=account&limit=50${cursor && `&after=${cursor}`}`;
  // The server may hold its answer back until there is an event.
  const { headers, content } = await call("GET", path, { headers: once ? {} : { Prefer: "wait=5" } });
  const next = new URL(headers.get("Link").match(/<(.*)>/)[1], "http://any");
  return { events: content, behind: next.searchParams.get("after"), caughtUp: headers.get("Caught-Up") === "true" };
}

/** Applies a page and moves the checkpoint behind it, in memory. Says why when it had to stop on the way. */
function apply(events, behind) {
  for (const event of events) {
    try {
      balances.set(event.subject, (balances.get(event.subject) ?? 0) + changeOf(event));
    } catch (why) {
      if (!(why instanceof Poison)) throw why;
      return `${event.id}: ${why.message}`;
    }
    cursor = event.position;
  }
  cursor = behind;
}

for (;;) {
  const { events, behind, caughtUp } = await nextPage();
  if (behind !== cursor) {
    const stopped = apply(events, behind);
    await commit({ cursor, balances: [...balances] });
    if (stopped) stop(`stopped before ${stopped}`);
  }
  if (caughtUp && once) break;
  if (events.length === 0) await sleep(100);
}

console.log(JSON.stringify(Object.fromEntries(balances)));
