"""The balance of every account, with the place in the feed kept in the same database: each event counts exactly once.

    python3 own_checkpoint.py balances.sqlite [--once]

What the events do and the checkpoint behind them are one transaction. Whatever ends this process, and whenever, both
are as they were behind the same event. `--once` ends at the end of the feed and prints the balances.
"""

import json
import sqlite3
import sys
import time
from urllib.parse import parse_qs, urlsplit

from service import Poison, call, change_of

ONCE = "--once" in sys.argv
db = sqlite3.connect(sys.argv[1])
db.executescript("""
    CREATE TABLE IF NOT EXISTS balance (account TEXT PRIMARY KEY, cents INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS place (only INTEGER PRIMARY KEY CHECK (only = 1), cursor TEXT NOT NULL);
    INSERT OR IGNORE INTO place VALUES (1, '');
""")


def page_after(cursor: str) -> tuple[list, str, bool]:
    """The next events, the cursor behind them, and whether they are the last ones."""
    path = "/v1/events?type=account&limit=50" + (f"&after={cursor}" if cursor else "")
    # The server may hold its answer back until there is an event.
    _, headers, events = call("GET", path, headers={} if ONCE else {"Prefer": "wait=5"})
    link = urlsplit(headers["Link"].removeprefix("<").split(">")[0])
    return events, parse_qs(link.query)["after"][0], headers["Caught-Up"] == "true"


def apply(events: list, before: str, behind: str) -> str | None:
    """Applies a page and moves the checkpoint behind it, or does nothing. Says why when it had to stop on the way."""
    place, stopped = before, None
    with db:  # Commits at its end; rolls back when anything is raised.
        for event in events:
            try:
                cents = change_of(event)
            except Poison as why:
                stopped = f"{event['id']}: {why}"
                break
            db.execute(
                "INSERT INTO balance VALUES (?, ?) ON CONFLICT (account) DO UPDATE SET cents = cents + excluded.cents",
                (event["subject"], cents),
            )
            place = event["position"]
        else:
            place = behind
        # A second process on the same database finds that the place has moved under it, and undoes what it did.
        if db.execute("UPDATE place SET cursor = ? WHERE cursor = ?", (place, before)).rowcount != 1:
            sys.exit("another process moves the checkpoint of this database")
    return stopped


while True:
    (cursor,) = db.execute("SELECT cursor FROM place").fetchone()
    events, behind, caught_up = page_after(cursor)
    if behind != cursor and (stopped := apply(events, cursor, behind)):
        sys.exit(f"stopped before {stopped}")
    if caught_up and ONCE:
        break
    if not events:
        time.sleep(0.1)

print(json.dumps(dict(db.execute("SELECT account, cents FROM balance"))))
