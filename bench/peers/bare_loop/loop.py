"""The loop: ``python loop.py URL KEY START``."""

from __future__ import annotations

import sys

import msgspec
import requests

TIMEOUT_SECONDS = 60


def main() -> None:
    """Print the audit log."""
    url, key, start = sys.argv[1:]
    session = requests.Session()
    session.headers["Authorization"] = f"AppKey {key}"
    encoder, decoder = msgspec.json.Encoder(), msgspec.json.Decoder()
    query: dict[str, str | int] = {"from": start, "pageSize": 200, "pageNumber": 0}
    read, total = 0, 1
    while read < total:
        response = session.get(
            f"{url}/log/api/external/audit", params=query, timeout=TIMEOUT_SECONDS
        )
        response.raise_for_status()
        page = decoder.decode(response.content)
        sys.stdout.buffer.write(encoder.encode_lines(page["content"]))
        read, total = read + len(page["content"]), page["totalCount"]
        query["pageNumber"] = page["pageNumber"] + 1


if __name__ == "__main__":
    main()
