"""What both ways share: a client that waits for its server, and what an event means to this service."""

import http.client
import json
import os
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

SERVER = os.environ.get("ANNALS_SERVER", "http://127.0.0.1:7070")


def is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


if not is_address(SERVER):
    sys.exit(f"ANNALS_SERVER={SERVER}: must be an address such as http://127.0.0.1:7070")
# This service books amounts up to this one; somebody has to look at a larger one.
LARGEST = int(os.environ.get("LARGEST_AMOUNT", "1000000"))


def call(method: str, path: str, body=None, headers=None, taken=(200, 201)):
    """Asks until the server answers. Every request here may be sent twice: none does harm the second time."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    waits = False
    while True:
        try:
            status, answered, content = ask(Request(SERVER + path, data, headers, method=method))
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as lost:
            if not waits:  # It is not there, or went away in the middle of its answer.
                print(f"waiting for {SERVER}: {lost}", file=sys.stderr)
            waits = True
            time.sleep(0.2)
            continue
        if status in taken:
            return status, answered, content
        if status not in (429, 503):
            sys.exit(f"{method} {path}: {status} {content.get('detail')}; {content.get('fix')}")
        time.sleep(float(answered.get("Retry-After", 1)))


def ask(request: Request):
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, json.load(answer)
    except HTTPError as refused:
        with refused:
            return refused.code, refused.headers, json.load(refused)


class Poison(Exception):
    """An event that this service cannot handle, however often it tries."""


def change_of(event: dict) -> int:
    """What an event does to the balance of its account, in cents."""
    match event["type"]:
        case "deposited":
            return amount_in(event)
        case "withdrawn":
            return -amount_in(event)
        case "opened" | "closed":
            return 0
        case other:
            raise Poison(f"nobody has said what `{other}` does to a balance")


def amount_in(event: dict) -> int:
    data = event.get("data")  # There is none where it is not JSON.
    amount = data.get("amount") if isinstance(data, dict) else None
    if type(amount) is not int:
        raise Poison("it has no amount in cents")
    if amount > LARGEST:
        raise Poison(f"{amount} is more than {LARGEST}, which is what is booked without being looked at")
    return amount
