"""The balance of every account by a durable consumer: the server keeps the place, the database what it has seen.

    python3 durable_consumer.py balances.sqlite [--once]

The server delivers an event until it is acknowledged, so it may come twice; the version that is kept for each
aggregate, in the transaction of the effect, tells. `--once` ends when nothing is left to do and prints the balances.
"""

import json
import os
import socket
import sqlite3
import sys

from service import Poison, call, change_of

ONCE = "--once" in sys.argv
CONSUMER = "/v1/consumers/" + os.environ.get("CONSUMER", "balances")
# Leases belong to a member. Two processes of one name would be one member.
MEMBER = f"{socket.gethostname()}-{os.getpid()}"
DEFINITION = {
    "filter": {"types": ["account"]},
    "start": "beginning",
    # What a killed process held is delivered again after this time, which is long for one batch.
    "ack_deadline_ms": 2000,
    # A lease that ran out is an attempt, too: being killed now and then must not park anything.
    "retry": {"attempts": 10, "first_pause_ms": 200, "longest_pause_ms": 5000},
}

db = sqlite3.connect(sys.argv[1])
db.executescript("""
    CREATE TABLE IF NOT EXISTS balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS seen (source TEXT, id TEXT, version INTEGER NOT NULL, PRIMARY KEY (source, id));
""")


def apply(event: dict) -> None:
    """Applies an event, unless this database has it: then it was delivered again, and nothing changes."""
    source, subject, version = event["source"], event["subject"], int(event["sequence"])
    seen = db.execute("SELECT version FROM seen WHERE source = ? AND id = ?", (source, subject)).fetchone()
    if seen and version <= seen[0]:
        return
    cents = change_of(event)  # Before anything is written: a poison event leaves nothing behind.
    db.execute(
        "INSERT INTO balance VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents",
        (subject, cents),
    )
    db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?, ?)", (source, subject, version))


def settle(how: str, leases: list, **more) -> None:
    """Acknowledges or refuses. A lease that is not taken has run out: its event comes again, and `seen` knows it."""
    if not leases:
        return
    body = {"member": MEMBER, "leases": leases, **more}
    status, _, answer = call("POST", f"{CONSUMER}/{how}", body, taken=(200, 409))
    for refused in answer["refused"] if status == 409 else []:
        print(f"{how}: {refused['reason']}: {refused['detail']}", file=sys.stderr)


call("PUT", CONSUMER, DEFINITION)
while True:
    wish = {"member": MEMBER, "max": 50, "wait_ms": 200 if ONCE else 20000}
    batch = call("POST", CONSUMER + "/fetch", wish)[2]["events"]
    done, poison = [], []
    with db:  # One transaction for the batch. Commits at its end; rolls back when anything is raised.
        # Nobody else writes from here on: when a lease runs out, another member works on the same event.
        db.execute("BEGIN IMMEDIATE")
        for delivered in batch:
            try:
                apply(delivered["event"])
                done.append(delivered["lease"])
            except Poison as why:
                poison.append((delivered["lease"], str(why)))
    # Only now. Acknowledged before the commit, an event would be lost with a process that ends in between.
    settle("ack", done)
    for lease, why in poison:
        settle("nack", [lease], reason=why, park=True)
    if ONCE and not batch and call("GET", CONSUMER)[2]["lag"]["events"] == 0:
        break

print(json.dumps(dict(db.execute("SELECT account, cents FROM balance"))))
