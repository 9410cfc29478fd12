{{ config(materialized='view') }}

with audit_events as (
    select * from {{ ref('audit_events') }}
)

select
    event_id,
    team,
    occurred_at,
    event,
    area,
    object,
    action,
    outcome,
    risk,
    user_key,
    actor_email,
    actor_role,
    ip_address,
    object_name,
    local_time,
    is_outside_working_hours
from audit_events
where is_privileged and actor_type <> 'SYSTEM'
