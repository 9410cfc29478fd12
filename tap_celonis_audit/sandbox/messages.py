"""What an audit event says: its name, how often it occurs, its message and its difference."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from tap_celonis_audit.sandbox.team import chance, new_uuid

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

    from tap_celonis_audit.sandbox.team import Team

Message: TypeAlias = dict[str, Any] | str | None
_Thing = TypeVar("_Thing")
_Writer: TypeAlias = Callable[["Random", "Team"], Message]

ORIGINS: Mapping[str, tuple[str, ...]] = {
    origin: tuple(events)
    for origin, events in json.loads(
        files("tap_celonis_audit.sandbox").joinpath("audit_events.json").read_text(encoding="utf-8")
    ).items()
}
"""The documented names of audit events by their origin in the product."""

UNDOCUMENTED = (
    "JOB_EXECUTION_STARTED",
    "JOB_EXECUTION_FINISHED",
    "JOB_EXECUTION_FAILED",
    "PACKAGE_DEPLOYMENT_TRIGGERED",
)
"""Names that the documentation does not list, of a kind that is seen in the field."""

# How often an event occurs among those of its kind of person; every other name has _RARE.
_FREQUENT = {
    "STUDIO_NODE_UPDATED": 300.0,
    "ANALYSIS_EXPORT_AUDIT_LOG_EVENT": 80.0,
    "STUDIO_NODE_CREATED": 60.0,
    "STUDIO_PACKAGE_PUBLISHED": 55.0,
    "DATA_JOB_MANUALLY_EXECUTED": 48.0,
    "TRANSFORMATION_CODE_CHANGED": 42.0,
    "STUDIO_INPUT_VARIABLE_VALUE_CHANGED": 40.0,
    "STUDIO_NODE_RENAMED": 26.0,
    "DATA_MODEL_MANUAL_LOAD_STARTED": 25.0,
    "STUDIO_NODE_DELETED": 22.0,
    "ACTIONFLOW_DRAFT_BLUEPRINT_MODIFIED": 18.0,
    "STUDIO_NODE_MOVED": 15.0,
    "TASK_CREATED": 14.0,
    "STUDIO_NODE_COPIED": 12.0,
    "OCDM_OBJECT_UPDATED": 12.0,
    "CUSTOM_EXTRACTION_PREVIEW_EXECUTED": 10.0,
    "STUDIO_PACKAGE_VERSION_LOADED": 8.0,
    "VIEW_REPORT_TRIGGER_UPDATED": 6.0,
    "ACTIONFLOW_SCHEDULE_MODIFIED": 6.0,
    "PERMISSIONS_UPDATE": 60.0,
    "USER_JOIN_GROUP": 55.0,
    "TEAM_MEMBERSHIP_UPDATED": 40.0,
    "USER_LEFT_GROUP": 20.0,
    "GROUP_UPDATED": 15.0,
    "USER_PERMISSIONS_CSV_DOWNLOADED": 6.0,
    "AUDIT_LOG_CSV_DOWNLOADED": 6.0,
    "LOGIN_HISTORY_CSV_DOWNLOADED": 4.0,
    "PERMISSIONS_CSV_DOWNLOADED": 3.0,
    "GROUP_PERMISSIONS_CSV_DOWNLOADED": 3.0,
    "APPLICATION_KEY_CREATED": 4.0,
}
_RARE = 0.4

ADMINISTRATION = "Admin and Settings"
_MEMBERS_DO = (
    "ANALYSIS_EXPORT_AUDIT_LOG_EVENT",
    "STUDIO_INPUT_VARIABLE_VALUE_CHANGED",
    "USER_CHANGE_PASSWORD",
    "USER_GENERATE_API_KEY",
    "VIEW_REPORT_TRIGGER_CREATED",
)
_BUILDERS_DO = tuple(
    event for origin, events in ORIGINS.items() if origin != ADMINISTRATION for event in events
)


class Repertoire:
    """The events that a kind of person causes, each as often as it is plausible."""

    def __init__(self, events: tuple[str, ...]) -> None:
        self._events = events
        self._odds = list(accumulate(_FREQUENT.get(event, _RARE) for event in events))

    def pick(self, rng: Random) -> str:
        """Pick an event."""
        return rng.choices(self._events, cum_weights=self._odds)[0]


REPERTOIRES = {
    "ADMIN": Repertoire(ORIGINS[ADMINISTRATION] + _BUILDERS_DO),
    "ANALYST": Repertoire(_BUILDERS_DO),
    "MEMBER": Repertoire(_MEMBERS_DO),
}

# Documented as events without a message.
WITHOUT_MESSAGE = frozenset(
    {
        "APPLICATION_PERMISSIONS_CSV_DOWNLOADED",
        "GROUP_PERMISSIONS_CSV_DOWNLOADED",
        "PERMISSIONS_CSV_DOWNLOADED",
        "STUDIO_ADOPTION_CSV_DOWNLOADED",
    }
)


def message_of(event: str, rng: Random, team: Team) -> Message:
    """Write the message of an event; the spelling of its keys depends on the service it is from."""
    return _WRITERS[event](rng, team)


def difference_of(event: str, rng: Random) -> dict[str, str | None] | None:
    """Write what changed: the text before and after, for the events that carry it."""
    match event:
        case "ACTIONFLOW_DRAFT_BLUEPRINT_MODIFIED":
            modules = [_module(rng, number) for number in range(1, rng.randint(3, 14))]
            old = _blueprint(modules)
            modules[rng.randrange(len(modules))] = _module(rng, len(modules) + 1)
            return {"oldValue": old, "newValue": _blueprint(modules)}
        case "ACTIONFLOW_CREATED":
            return {"oldValue": None, "newValue": _blueprint([_module(rng, 1)])}
        case "TRANSFORMATION_CODE_CHANGED":
            table, days = rng.choice(("VBAK", "EKPO", "BSEG")), rng.randint(30, 720)
            return {"oldValue": _sql(table, days), "newValue": _sql(table, days + 30)}
        case "TEAM_MEMBERSHIP_UPDATED":
            old, new = rng.sample(("MEMBER", "ANALYST", "ADMIN"), 2)
            return {"oldValue": old, "newValue": new}
        case _:
            return None


def _pick(rng: Random, things: Sequence[_Thing]) -> _Thing:
    # Half the cost of rng.choice(), and two years of history pick very often.
    return things[int(rng.random() * len(things))]


def _node(rng: Random, team: Team) -> Message:
    node, package = _pick(rng, team.portfolio.nodes), _pick(rng, team.portfolio.packages)
    return {
        "nodeName": node.name,
        "packageKey": package.key,
        "nodeKey": node.key,
        "id": node.id,
        "nodeType": "ASSET" if chance(rng, 0.8) else "FOLDER",
        "nodeId": new_uuid(rng),
        "assetType": rng.choice(("BOARD_V2", "ANALYSIS", "KNOWLEDGE_MODEL", "SKILL", "VIEW")),
    }


def _package(rng: Random, team: Team) -> Message:
    package = _pick(rng, team.portfolio.packages)
    return {
        "packageName": package.name,
        "packageKey": package.key,
        "id": package.id,
        "version": f"{rng.randint(1, 9)}.{rng.randint(0, 30)}.{rng.randint(0, 12)}",
    }


def _variable(rng: Random, team: Team) -> Message:
    package = _pick(rng, team.portfolio.packages)
    return {
        "packageKey": package.key,
        "variableKey": f"var_{rng.randint(1, 40)}",
        "variable_value": rng.choice(("EUR", "USD", "2025", "true", "Größe", "")),
    }


def _export(rng: Random, team: Team) -> Message:
    node = _pick(rng, team.portfolio.nodes)
    return {
        "Analysis Id": node.id,
        "analysis_name": node.name,
        "componentType": rng.choice(("olap-table", "pivot-table", "column-chart")),
        "rowCount": rng.randint(1, 500_000),
    }


def _report(rng: Random, team: Team) -> Message:
    node = _pick(rng, team.portfolio.nodes)
    return {
        "viewId": node.id,
        "viewName": node.name,
        "schedule": rng.choice(("DAILY", "WEEKLY", "MONTHLY")),
        "recipients": rng.randint(1, 25),
    }


def _failed_delivery(rng: Random, team: Team) -> Message:
    node = _pick(rng, team.portfolio.nodes)
    return f'Delivery of "{node.name}" failed after {rng.randint(1, 5)} attempts'


def _pool(rng: Random, team: Team) -> Message:
    pool = _pick(rng, team.portfolio.pools)
    return {"data-pool-id": pool.id, "data-pool-name": pool.name, "data-pool-version": None}


def _data_job(rng: Random, team: Team) -> Message:
    pool, table = _pick(rng, team.portfolio.pools), _pick(rng, team.portfolio.tables)
    return {
        "data-pool-id": pool.id,
        "data-pool-name": pool.name,
        "data-job-id": new_uuid(rng),
        "data-job-name": f"{table.name} delta",
        "is-full-load": chance(rng, 0.2),
    }


def _data_model(rng: Random, team: Team) -> Message:
    pool, table = _pick(rng, team.portfolio.pools), _pick(rng, team.portfolio.tables)
    return {
        "data_pool_id": pool.id,
        "data_model_id": table.id,
        "data_model_name": f"{pool.name} model",
        "tables": [{"name": table.name, "alias": None, "columns": rng.randint(3, 120)}],
    }


def _action_flow(rng: Random, team: Team) -> Message:
    flow = _pick(rng, team.portfolio.flows)
    return {"actionFlowId": flow.id, "actionFlowName": flow.name, "packageKey": flow.key}


def _scheduled_flow(rng: Random, team: Team) -> Message:
    flow = _pick(rng, team.portfolio.flows)
    return {
        "actionFlowId": flow.id,
        "actionFlowName": flow.name,
        "packageKey": flow.key,
        "type": rng.choice(("indefinitely", "once", "immediately")),
        "interval": rng.choice((60, 900, 3_600, 86_400)),
    }


def _stopped_flow(rng: Random, team: Team) -> Message:
    flow = _pick(rng, team.portfolio.flows)
    return {
        "actionFlowId": flow.id,
        "actionFlowName": flow.name,
        "packageKey": flow.key,
        "reason": "max_errors_reached",
        "max_errors_count": rng.choice((3, 5, 10)),
    }


def _object(rng: Random, team: Team) -> Message:
    thing = _pick(rng, team.portfolio.objects)
    return {
        "namespace": rng.choice(("celonis", "custom")),
        "name": thing.name,
        "id": thing.id,
        "environment": rng.choice(("develop", "production")),
    }


def _project(rng: Random, team: Team) -> Message:
    project = _pick(rng, team.portfolio.projects)
    return {
        "projectId": project.id,
        "projectName": project.name,
        "client_count": rng.randint(1, 90),
    }


def _named(rng: Random, team: Team) -> Message:
    package = _pick(rng, team.portfolio.packages)
    return {"id": new_uuid(rng), "name": package.name, "package-key": package.key}


def _setting(rng: Random, team: Team) -> Message:
    user = _pick(rng, team.users)
    return {"teamName": "Aurelia Foods", "changedFor": user.name, "enabled": chance(rng, 0.5)}


def _key(rng: Random, _: Team) -> Message:
    return {
        "name": rng.choice(("etl-nightly", "power-bi", "siem", "Schnittstelle SAP", "ml-export")),
        "id": new_uuid(rng),
        "scopes": rng.sample(("audit.log:read", "team.login-history:read", "data.pool:write"), 2),
    }


def _permissions(rng: Random, team: Team) -> Message:
    group, package = _pick(rng, team.portfolio.groups), _pick(rng, team.portfolio.packages)
    actions = ("VIEW", "EDIT", "DELETE", "SHARE", "MANAGE_PERMISSIONS", "EXPORT")
    return {
        "subject_description": group.name,
        "subject_type": "GROUP",
        "object_description": package.name,
        "old_permissions": sorted(rng.sample(actions, rng.randint(0, 3))),
        "new_permissions": sorted(rng.sample(actions, rng.randint(1, 5))),
    }


def _membership(rng: Random, team: Team) -> Message:
    user = _pick(rng, team.users)
    return {"memberEmail": user.email, "memberId": user.id, "memberName": user.name}


def _group_member(rng: Random, team: Team) -> Message:
    user, group = _pick(rng, team.users), _pick(rng, team.portfolio.groups)
    return {"user_email": user.email, "group_id": group.id, "group_name": group.name}


def _renamed_user(rng: Random, team: Team) -> Message:
    user = _pick(rng, team.users)
    return {"oldName": user.name.split()[0], "newName": user.name}


def _retention(_: Random, __: Team) -> Message:
    return {"deletedBy": "retention", "reason": "days to delete"}


def _preferences(_: Random, __: Team) -> Message:
    return {"ip-tracking-enabled": True, "days-to-delete": None}


def _execution(rng: Random, team: Team) -> Message:
    pool = _pick(rng, team.portfolio.pools)
    return {
        "data-pool-id": pool.id,
        "execution-id": new_uuid(rng),
        "durationMs": rng.randint(800, 3_600_000),
    }


def _nothing(_: Random, __: Team) -> Message:
    return None


# The first writer whose prefix fits writes the message.
_BY_PREFIX: tuple[tuple[str, _Writer], ...] = (
    ("STUDIO_PACKAGE_VARIABLE", _variable),
    ("STUDIO_PACKAGE", _package),
    ("STUDIO_INPUT_VARIABLE", _variable),
    ("STUDIO_SPACE", _named),
    ("STUDIO_NODE", _node),
    ("PROCESS_WORKSPACE_NODE", _node),
    ("ANALYSIS_EXPORT", _export),
    ("VIEW_REPORT_DELIVERY_TRIGGER_FAILED", _failed_delivery),
    ("VIEW_REPORT", _report),
    ("PACKAGE_", _package),
    ("TRASH_", _package),
    ("TEAM_TO_TEAM_COPY", _package),
    ("DATA_POOL", _pool),
    ("DATA_SOURCE", _pool),
    ("DATA_MODEL", _data_model),
    ("DATA_JOB", _data_job),
    ("TASK_MINING", _project),
    ("TASK_", _data_job),
    ("TRANSFORMATION_CODE", _data_job),
    ("SCHEDULING_", _data_job),
    ("JOB_SCHEDULING", _data_job),
    ("JOB_EXECUTION", _execution),
    ("CUSTOM_EXTRACTION", _data_job),
    ("EXTRACTION_", _data_job),
    ("ACTIONFLOW_ACTIVATED", _scheduled_flow),
    ("ACTIONFLOW_SCHEDULE", _scheduled_flow),
    ("ACTIONFLOW_DEACTIVATED", _stopped_flow),
    ("ACTIONFLOW", _action_flow),
    ("OCDM_", _object),
    ("PERMISSIONS_UPDATE", _permissions),
    ("TEAM_MEMBERSHIP", _membership),
    ("USER_TEAM_MEMBERSHIP", _membership),
    ("ADMIN USER INVITED", _membership),
    ("USER_JOIN_GROUP", _group_member),
    ("USER_LEFT_GROUP", _group_member),
    ("USER_NAME_UPDATED", _renamed_user),
    ("APPLICATION_KEY", _key),
    ("OAUTH_CLIENT", _key),
    ("AUDIT_LOGS_DELETED", _retention),
    ("AUDIT_LOG_PREFERENCES", _preferences),
)


def _writer_for(event: str, origin: str) -> _Writer:
    if event in WITHOUT_MESSAGE:
        return _nothing
    for prefix, writer in _BY_PREFIX:
        if event.startswith(prefix):
            return writer
    return _setting if origin == ADMINISTRATION else _named


_WRITERS: dict[str, _Writer] = {
    event: _writer_for(event, origin)
    for origin, events in (*ORIGINS.items(), ("", UNDOCUMENTED))
    for event in events
}


def _module(rng: Random, number: int) -> dict[str, Any]:
    return {
        "id": number,
        "module": rng.choice(
            ("http:ActionSendData", "celonis:query", "email:Send", "util:Iterator")
        ),
        "mapper": {
            "to": "{{1.email}}",
            "subject": "Überfällig / 承認",
            "retries": rng.randint(0, 5),
        },
        "metadata": {"designer": {"x": rng.randint(0, 2_000), "y": rng.randint(0, 900)}},
    }


def _blueprint(modules: list[dict[str, Any]]) -> str:
    return json.dumps(
        {"name": "Blueprint", "flow": modules, "metadata": {"version": 1}}, ensure_ascii=False
    )


def _sql(table: str, days: int) -> str:
    return "\n".join(
        (
            f'INSERT INTO "{table}_STAGING"',
            f'SELECT * FROM "{table}"',  # noqa: S608 - a text for the log, never run
            f'WHERE "ERDAT" >= CURRENT_DATE - {days}',
            "  AND \"SPRAS\" = 'D';",
        )
    )
