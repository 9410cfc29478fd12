with audit_logs as (
    select event_id, message, diff_payload
    from {{ ref('stg_celonis__audit_logs') }}
    where event in (
        'AUDIT_LOGS_DELETED', 'AUDIT_LOG_PREFERENCES_UPDATED', 'AUDIT_LOG_CSV_DOWNLOADED',
        'LOGIN_HISTORY_DELETED', 'LOGIN_HISTORY_PREFERENCES_UPDATED', 'LOGIN_HISTORY_CSV_DOWNLOADED',
        'TRACKING_EVENT_DELETED', 'USER_ADOPTION_PREFERENCE_CHANGED', 'STUDIO_ADOPTION_CSV_DOWNLOADED'
    )
),

audit_events as (
    select * from {{ ref('audit_events') }}
),

events as (
    select
        audit_events.*,
        case audit_events.object
            when 'audit log' then 'audit_logs'
            when 'login history' then 'login_history'
            when 'adoption records' then 'studio_adoption'
        end as log,
        case audit_events.action
            when 'delete' then 'deleted'
            when 'export' then 'exported'
            else 'settings'
        end as kind,
        coalesce(audit_logs.diff_payload, audit_logs.message) as details
    from audit_logs
    inner join audit_events on audit_logs.event_id = audit_events.event_id
)

select
    event_id,
    team,
    occurred_at,
    event,
    log,
    kind,
    kind = 'deleted' and actor_type = 'SYSTEM' as is_by_retention,
    user_key,
    actor_email,
    cast(details as text) as details,
    case when kind = 'deleted' and actor_type = 'SYSTEM' then 'low' else risk end as risk,
    local_time,
    is_outside_working_hours
from events
