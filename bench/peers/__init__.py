"""The readers that are compared, each configured as well as we know how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers import dlt_rest_api, first_page_collector, plain_sdk, tap_rest_api_msdk, this_tap

if TYPE_CHECKING:
    from bench.peers.peer import Peer

PEERS: tuple[Peer, ...] = (
    this_tap.PEER,
    plain_sdk.PEER,
    tap_rest_api_msdk.PEER,
    dlt_rest_api.APPEND,
    dlt_rest_api.MERGE,
    first_page_collector.PEER,
)
