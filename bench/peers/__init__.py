"""The readers that are compared, each configured as well as we know how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.peers import (
    airbyte_cdk,
    bare_loop,
    dlt_rest_api,
    first_page_collector,
    plain_sdk,
    tap_rest_api_msdk,
    this_tap,
)

if TYPE_CHECKING:
    from bench.peers.peer import Peer, Racer

PEERS: tuple[Peer, ...] = (
    this_tap.PEER,
    plain_sdk.PEER,
    tap_rest_api_msdk.PEER,
    dlt_rest_api.APPEND,
    dlt_rest_api.MERGE,
    first_page_collector.PEER,
)
RACERS: tuple[Racer, ...] = (
    *this_tap.AT_ONCE,
    plain_sdk.PEER,
    tap_rest_api_msdk.PEER,
    dlt_rest_api.EXTRACTION,
    dlt_rest_api.EXTRACTION_IN_PARALLEL,
    airbyte_cdk.SERIAL,
    airbyte_cdk.CONCURRENT,
    bare_loop.PEER,
)
