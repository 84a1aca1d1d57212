"""Reads events with the CloudEvents SDK for Python, and says what it understood.

Standard input has one event in JSON a line; standard output has one object a line, with what the SDK says of it. The
events are read twice, by the present interface of the SDK and by the former one, which both have checks of their own.
"""

import json
import sys

from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.v1.http import from_json

KNOWN = {"specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"}

for line in sys.stdin.buffer:
    event = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json; charset=utf-8"}, line))
    attributes = event.get_attributes()
    data = event.get_data()
    former = from_json(line)
    again = JSONFormat().read(None, JSONFormat().write(event))
    print(
        json.dumps(
            {
                "specversion": event.get_specversion(),
                "id": event.get_id(),
                "source": event.get_source(),
                "type": event.get_type(),
                "subject": event.get_subject(),
                "time_ms": round(event.get_time().timestamp() * 1000),
                "datacontenttype": event.get_datacontenttype(),
                "dataschema": event.get_dataschema(),
                "extensions": {name: value for name, value in attributes.items() if name not in KNOWN},
                "data": None if isinstance(data, bytes) else data,
                "data_hex": data.hex() if isinstance(data, bytes) else None,
                "same_written_and_read": (again.get_attributes(), again.get_data()) == (attributes, data),
                "same_by_former": (former.data, former["id"], former["time"])
                == (data, event.get_id(), json.loads(line)["time"]),
            }
        )
    )
