"""A tap as the Meltano SDK's template begins one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.environments import HERE
from bench.peers.singer import SingerTap

if TYPE_CHECKING:
    from bench.peers.peer import Job, Record


def _config(job: Job) -> dict[str, Any]:
    return {"api_url": job.url, "app_key": job.app_key, "start_date": job.start.isoformat()}


def _to_api(row: Record) -> Record:
    return row


PEER = SingerTap(
    name="plain SDK tap",
    manner=(
        "The SDK's `RESTStream` filled in as its template suggests: pages by number until "
        "`totalCount` is reached, `from` is the bookmark, `timestamp` is the replication key. "
        "The SDK would fail on an answer without content (204); that is mended."
    ),
    package="singer-sdk",
    environment=HERE,
    command=("python", str(Path(__file__).with_name("tap.py"))),
    config=_config,
    to_api=_to_api,
)
