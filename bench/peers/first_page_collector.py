"""What a log collector of a commercial SIEM does with this API, by its public source code.

It asks for the first page only, sorts it, emits it, and asks again from one millisecond after the
last record, until a page is empty: right if the oldest come first and no two events share a time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from operator import itemgetter
from typing import TYPE_CHECKING

import requests

from bench.environments import HERE, Environment
from bench.peers.peer import AUDIT_PATH, PAGE_SIZE
from bench.processes import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.peers.peer import Job, Record

_MILLISECOND = timedelta(milliseconds=1)
_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstPageCollector:
    """A collector that knows the first page only."""

    name: str = "first-page collector"
    manner: str = (
        "Written here after the public source of a commercial SIEM's collector: always page 0, "
        "from one millisecond after the last record to now, until a page is empty. Its limit of "
        "events per call is lifted."
    )
    package: str = "requests"
    environment: Environment = HERE

    def run(self, job: Job, now: datetime) -> None:
        """Collect until nothing is left."""
        bookmark, rows = job.folder / "bookmark.txt", job.folder / "output.jsonl"
        start = bookmark.read_text() if bookmark.exists() else job.start.isoformat()
        with requests.Session() as session, rows.open("a") as output:
            session.headers["Authorization"] = f"AppKey {job.app_key}"
            while records := _first_page(session, job.url, start, now.isoformat()):
                output.writelines(f"{json.dumps(record)}\n" for record in records)
                last = datetime.fromisoformat(records[-1]["timestamp"])
                before, start = start, (last + _MILLISECOND).isoformat(timespec="milliseconds")
                bookmark.write_text(start)
                if start == before:
                    raise RunError("the same page comes again and again: ended here")

    def records(self, job: Job) -> Iterator[Record]:
        """Give what was collected."""
        with (job.folder / "output.jsonl").open() as lines:
            yield from map(json.loads, lines)


def _first_page(session: requests.Session, url: str, start: str, end: str) -> list[Record]:
    query: dict[str, str | int] = {"pageNumber": 0, "pageSize": PAGE_SIZE}
    response = session.get(
        f"{url}{AUDIT_PATH}",
        params=query | {"from": start, "to": end},
        timeout=_TIMEOUT_SECONDS,
    )
    if response.status_code == HTTPStatus.NO_CONTENT:
        return []
    if response.status_code != HTTPStatus.OK:
        raise RunError(f"status {response.status_code}")
    return sorted(response.json()["content"], key=itemgetter("timestamp"))


PEER = FirstPageCollector()
