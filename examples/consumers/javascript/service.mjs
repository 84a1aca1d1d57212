// What both ways share: a client that waits for its server, a store, and what an event means to this service.

import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const SERVER = process.env.ANNALS_SERVER ?? "http://127.0.0.1:7070";
if (!URL.canParse(SERVER) || !/^https?:$/.test(new URL(SERVER).protocol)) {
  stop(`ANNALS_SERVER=${SERVER}: must be an address such as http://127.0.0.1:7070`);
}
// This service books amounts up to this one; somebody has to look at a larger one.
const LARGEST = Number(process.env.LARGEST_AMOUNT ?? 1_000_000);

/** Asks until the server answers. Every request here may be sent twice: none does harm the second time. */
export async function call(method, path, { body, headers = {}, taken = [200, 201] } = {}) {
  for (let waits = false; ; ) {
    let pause = 0.2;
    try {
      const answer = await fetch(SERVER + path, {
        method,
        headers: { "Content-Type": "application/json", ...headers },
        body: body && JSON.stringify(body),
        signal: AbortSignal.timeout(60_000),
      });
      const content = await answer.json();
      if (taken.includes(answer.status)) {
        return { status: answer.status, headers: answer.headers, content };
      }
      if (answer.status !== 429 && answer.status !== 503) {
        stop(`${method} ${path}: ${answer.status} ${content.detail}; ${content.fix}`);
      }
      pause = Number(answer.headers.get("Retry-After") ?? 1);
    } catch (lost) {
      if (!["TypeError", "SyntaxError", "TimeoutError"].includes(lost.name)) throw lost;
      // It is not there, or went away in the middle of its answer.
      if (!waits) console.error(`waiting for ${SERVER}: ${lost.cause?.message ?? lost.message}`);
      waits = true;
    }
    await sleep(pause * 1000);
  }
}

/** Ends the process and says why. */
export function stop(why) {
  console.error(why);
  process.exit(1);
}

/**
 * A database of one document. `commit` replaces it in one step that survives a crash of the machine: a new file is
 * written, synced and renamed over the old one. In its place stand `BEGIN … COMMIT` of the database that you have.
 * One process at a time may use it.
 */
export async function store(path, empty) {
  const text = await readFile(path, "utf8").catch((error) => {
    if (error.code !== "ENOENT") throw error;
    return JSON.stringify(empty);
  });
  const commit = async (document) => {
    const written = await open(`${path}.new`, "w");
    await written.writeFile(JSON.stringify(document));
    await written.sync();
    await written.close();
    await rename(`${path}.new`, path);
    const folder = await open(dirname(path));
    await folder.sync();
    await folder.close();
  };
  return { document: JSON.parse(text), commit };
}

/** An event that this service cannot handle, however often it tries. */
export class Poison extends Error {}

/** What an event does to the balance of its account, in cents. */
export function changeOf(event) {
  switch (event.type) {
    case "deposited":
      return amountIn(event);
    case "withdrawn":
      return -amountIn(event);
    case "opened":
    case "closed":
      return 0;
    default:
      throw new Poison(`nobody has said what \`${event.type}\` does to a balance`);
  }
}

function amountIn(event) {
  const amount = event.data?.amount; // There is no data where it is not JSON.
  if (!Number.isInteger(amount)) throw new Poison("it has no amount in cents");
  if (amount > LARGEST) {
    throw new Poison(`${amount} is more than ${LARGEST}, which is what is booked without being looked at`);
  }
  return amount;
}
