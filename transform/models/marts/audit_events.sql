{{ config(materialized='view') }}

with events as (
    select
        *,
        {{ local_time('occurred_at') }} as local_time
    from {{ ref('int_audit_events') }}
),

event_types as (
    select * from {{ ref('event_types') }}
),

identities as (
    select * from {{ ref('int_identities') }}
)

select
    events.event_id,
    events.team,
    events.occurred_at,
    events.event,
    event_types.area,
    event_types.object,
    event_types.action,
    event_types.outcome,
    event_types.risk,
    event_types.is_privileged,
    event_types.is_security_relevant,
    event_types.is_documented,
    case
        when events.actor_type = 'USER' then events.team || '/' || events.actor_id
        else identities.user_key
    end as user_key,
    events.actor_id,
    events.actor_email,
    events.actor_type,
    events.actor_role,
    events.ip_address,
    events.object_id,
    events.object_name,
    events.local_time,
    events.actor_type <> 'SYSTEM'
    and {{ is_outside_working_hours('events.local_time') }} as is_outside_working_hours
from events
left join event_types on events.event = event_types.event
left join identities
    on events.actor_type = 'UNKNOWN'
    and events.team = identities.team
    and events.actor_email = identities.email
