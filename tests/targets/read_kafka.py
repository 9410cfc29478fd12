"""Read all messages of all topics with a prefix: ``read_kafka.py SERVERS PREFIX``.

A message's key is put beside its fields, as ``key of the message``.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from kafka import (  # type: ignore[import-not-found] # ty: ignore[import-not-found] # only in its own environment
    KafkaConsumer,
    TopicPartition,
)

KINDS = {str: "string", bool: "boolean", int: "number", dict: "object", list: "array"}


def main(servers: str, prefix: str) -> None:
    """Write rows and types as JSON."""
    rows: dict[str, list[dict[str, Any]]] = {}
    types: dict[str, dict[str, str]] = {}
    consumer = KafkaConsumer(bootstrap_servers=servers, enable_auto_commit=False)
    for topic in consumer.topics():
        parts = [TopicPartition(topic, part) for part in consumer.partitions_for_topic(topic)]
        ends = consumer.end_offsets(parts)
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        stream = topic.removeprefix(prefix)
        found, seen = rows.setdefault(stream, []), types.setdefault(stream, {})
        while any(consumer.position(part) < ends[part] for part in parts):
            for messages in consumer.poll(timeout_ms=1000).values():
                for message in messages:
                    record = json.loads(message.value)
                    key = message.key and message.key.decode()
                    found.append(record | {"key of the message": key})
                    seen |= {k: KINDS[type(v)] for k, v in record.items() if v is not None}
    consumer.close()
    json.dump({"rows": rows, "types": types}, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
