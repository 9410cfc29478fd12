{#- What people did: the events of the audit log that a condition chooses. -#}
{%- macro actions_where(condition) -%}
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
where {{ condition }} and actor_type <> 'SYSTEM'
{%- endmacro -%}
