"""Both versions of an API, over HTTP: which one is asked, and that nothing depends on it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from outputs import run_tap

from tap_celonis_audit.errors import TapError
from tap_celonis_audit.keys import canonical
from tap_celonis_audit.sandbox import Sandbox
from tap_celonis_audit.streams import AuditLogsStream, StudioAdoptionStream

if TYPE_CHECKING:
    from collections.abc import Generator

    from outputs import Output

NOW = "2026-03-02T12:00:00Z"
V1, V2 = AuditLogsStream.api.path, AuditLogsStream.api_v2.path
ADOPTION_V2, ADOPTION_V1 = StudioAdoptionStream.api.path, StudioAdoptionStream.api_v1.path


@pytest.fixture
def sandbox() -> Generator[Sandbox]:
    with Sandbox(days=20, now=NOW) as sandbox:
        sandbox.clock.advance(seconds=600)  # All of it has settled.
        yield sandbox


def run(
    sandbox: Sandbox, stream: str, state: dict[str, Any] | None = None, **config: Any
) -> Output:
    sandbox.requests.clear()
    config |= {"api_url": sandbox.url, "app_key": sandbox.app_key}
    return run_tap(config, state=state, streams={stream})


def paths(sandbox: Sandbox) -> Counter[str]:
    return Counter(request.path for request in sandbox.requests)


def test_version_1_is_asked_while_it_is_there(sandbox: Sandbox) -> None:
    run(sandbox, "audit_logs")
    assert paths(sandbox).keys() == {V1}


@pytest.mark.parametrize("status", ["404", "410"])
def test_version_2_is_asked_when_version_1_is_gone(
    sandbox: Sandbox, status: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    first = run(sandbox, "audit_logs")
    sandbox.audit.happen(30, within_seconds=3_000)
    sandbox.clock.advance(seconds=7_200)
    sandbox.play(gone=["audit-v1"], gone_status=status)
    second = run(sandbox, "audit_logs", first.states[-1])
    assert len(second.rows) == 30
    assert paths(sandbox)[V1] == 1
    assert caplog.text.count(f"Celonis has no {V1}; {V2} is asked instead") == 1
    # And back again, as the setting allows.
    sandbox.play(gone=())
    sandbox.audit.happen(3, within_seconds=3_000)
    sandbox.clock.advance(seconds=7_200)
    third = run(sandbox, "audit_logs", second.states[-1], audit_api_version="v1")
    assert len(third.rows) == 3
    rows = first.rows + second.rows + third.rows
    assert len({row["event_id"] for row in rows}) == len(rows) == len(sandbox.audit.ever_visible)


@pytest.mark.parametrize("span", ["honoured", "ignored", "refused"])
def test_both_versions_give_the_same_rows(sandbox: Sandbox, span: Any) -> None:
    sandbox.play(v2_span=span)
    by_number = run(sandbox, "audit_logs", audit_api_version="v1")
    by_cursor = run(sandbox, "audit_logs", audit_api_version="v2")
    assert paths(sandbox).keys() == {V2}
    assert by_cursor.rows == by_number.rows
    assert len(by_number.rows) > 1_000
    again = run(sandbox, "audit_logs", by_cursor.states[-1], audit_api_version="v2")
    assert again.rows == []


def test_a_version_that_is_gone_and_was_asked_for_fails(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.play(gone=["audit-v1"])
    with pytest.raises(TapError, match="Failed: audit_logs"):
        run(sandbox, "audit_logs", audit_api_version="v1")
    assert "has no /log/api/external/audit (404)" in caplog.text
    assert paths(sandbox).keys() == {V1}


def test_both_versions_gone_point_at_the_url(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox.play(gone=["audit-v1", "audit-v2"])
    with pytest.raises(TapError, match="Failed: audit_logs"):
        run(sandbox, "audit_logs")
    assert "Check that api_url" in caplog.text


def adoption_truth(sandbox: Sandbox) -> Counter[bytes]:
    return Counter(map(canonical, sandbox.adoption.ever_visible))


def as_record(row: dict[str, Any]) -> bytes:
    record = {name: row[name] for name in ("user", "asset")} | (row["additional_fields"] or {})
    return canonical(record | {"timestamp": row["timestamp"].replace("000Z", "Z")})


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("extra", [False, True])
def test_studio_adoption_is_copied_with_all_its_fields(*, is_gone: bool, extra: bool) -> None:
    with Sandbox(days=20, now=NOW, extra_fields=extra) as sandbox:
        sandbox.clock.advance(seconds=600)
        sandbox.play(gone=["adoption-v2"] if is_gone else ())
        first = run(sandbox, "studio_adoption")
        sandbox.adoption.happen(25, within_seconds=3_000)
        sandbox.clock.advance(seconds=7_200)
        second = run(sandbox, "studio_adoption", first.states[-1])
        assert len(second.rows) == 25
        rows = first.rows + second.rows
        assert Counter(map(as_record, rows)) == adoption_truth(sandbox)
        assert len({row["event_id"] for row in rows}) == len(rows)
        assert (ADOPTION_V1 in paths(sandbox)) == is_gone
        if not is_gone:
            assert run(sandbox, "studio_adoption", second.states[-1]).rows == []


@pytest.mark.parametrize("list_key", ["content", "events", "adoptionTrackingEvents"])
@pytest.mark.parametrize("end", ["absent", "empty", "null"])
def test_the_envelope_may_have_other_names(list_key: str, end: Any) -> None:
    with Sandbox(days=3, now=NOW, v2_list_key=list_key, v2_end=end) as sandbox:
        sandbox.clock.advance(seconds=600)
        rows = run(sandbox, "studio_adoption").rows
        assert Counter(map(as_record, rows)) == adoption_truth(sandbox)


def test_a_chain_that_goes_round_in_circles_fails(caplog: pytest.LogCaptureFixture) -> None:
    with (
        Sandbox(days=3, now=NOW, v2_quirk="loop") as sandbox,
        pytest.raises(TapError, match="Failed: studio_adoption"),
    ):
        run(sandbox, "studio_adoption", page_size=50)
    assert "go round in circles" in caplog.text
