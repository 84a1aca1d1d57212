#!/usr/bin/env python3
"""Counts, straight from the CSV, what the replay of the year must come to, and prints it as JSON.

    python3 examples/aircraft/count.py "$(python3 examples/aircraft/flights.py --fetch)"

It shares no code with flights.py and none with the aggregate, and looks at the table another way: not as a stream of
reports, but aircraft by aircraft as intervals between take-off and landing.
"""

import json
import sys
from collections import Counter, defaultdict

LONGEST_MINUTES = 16 * 60
DAYS_BEFORE_MONTH = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334]


def minute_of_year(stamp):
    """Minutes since 2013-01-01T00:00Z of the hour that a stamp `2013-01-01T10:00:00Z` names."""
    date, clock = stamp.split("T")
    year, month, day = (int(part) for part in date.split("-"))
    days = 365 * (year - 2013) + DAYS_BEFORE_MONTH[month - 1] + day - 1
    return 60 * (24 * days + int(clock[:2]))


def read(path):
    """Flights by tail number as (take-off, row number, landing or None); and counts of what did not fly."""
    flights, cancelled, nameless, rows = defaultdict(list), Counter(), 0, 0
    with open(path, encoding="utf-8") as table:
        column = {name: index for index, name in enumerate(table.readline().strip().replace('"', "").split(","))}
        for number, line in enumerate(table):
            cell = line.strip().replace('"', "").split(",")
            rows += 1
            tail = cell[column["tailnum"]]
            if tail == "NA":
                nameless += 1
            elif cell[column["dep_time"]] == "NA":
                cancelled[tail] += 1
            else:
                start = minute_of_year(cell[column["time_hour"]]) + int(cell[column["minute"]])
                start += int(cell[column["dep_delay"]])
                air_time = cell[column["air_time"]]
                landing = None if air_time == "NA" else start + int(air_time)
                flights[tail].append((start, number, landing))
    return flights, cancelled, nameless, rows


def judge(flights):
    """Which flights of one aircraft can be, and what becomes of the others."""
    flown, refused = [], []
    for flight in sorted(flights):
        start = flight[0]
        if flown:
            before, _, landing = flown[-1]
            # Without a landing it counts as airborne for as long as any flight could be.
            until = before + LONGEST_MINUTES if landing is None else min(landing, before + LONGEST_MINUTES)
            if start < until:
                refused.append(flight)
                continue
        flown.append(flight)

    counts = Counter()
    for index, (_, _, landing) in enumerate(flown):
        counts["departures"] += 1
        if landing is not None:
            counts["arrivals"] += 1
        elif index + 1 < len(flown):
            counts["presumed landings"] += 1
        else:
            counts["still in the air"] += 1
    counts["refused departures"] = len(refused)
    for _, number, landing in refused:
        if landing is None:
            continue
        # Who lands as a flight that never left is either on the ground, or under way as another flight. One that
        # lands in the same minute has landed before, if its row comes first.
        under_way = False
        for position, (start, other, end) in enumerate(flown):
            if end is None:
                end = flown[position + 1][0] if position + 1 < len(flown) else float("inf")
                over = end < landing
            else:
                over = (end, other) < (landing, number)
            under_way |= start < landing and not over
        counts["arrivals as another flight"] += under_way
        counts["arrivals without departure"] += not under_way
    return counts


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    flights, cancelled, nameless, rows = read(sys.argv[1])
    total = Counter()
    for tail in flights:
        total += judge(flights[tail])
    accepted = {
        "depart": total["departures"],
        "arrive": total["arrivals"],
        "cancel": sum(cancelled.values()),
    }
    rejected = {
        "in-the-air": total["refused departures"],
        "not-in-the-air": total["arrivals without departure"],
        "another-flight": total["arrivals as another flight"],
    }
    events = {
        "departed": total["departures"],
        "arrived": total["arrivals"],
        "presumed-landed": total["presumed landings"],
        "flight-cancelled": sum(cancelled.values()),
    }
    result = {
        "rows": rows,
        "rows without a tail number": nameless,
        "aircraft": len(flights.keys() | cancelled.keys()),
        "commands": sum(accepted.values()) + sum(rejected.values()),
        "accepted": accepted | {"total": sum(accepted.values())},
        "rejected": rejected | {"total": sum(rejected.values())},
        "events": events | {"total": sum(events.values())},
        "still in the air": total["still in the air"],
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
