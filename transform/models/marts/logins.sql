{{ config(materialized='view') }}

with history as (
    select
        event_id,
        team,
        "timestamp" as occurred_at,
        authentication_event_type as event_type,
        success,
        lower(email) as email,
        {{ local_time('"timestamp"') }} as local_time
    from {{ ref('stg_celonis__login_history') }}
),

login_types as (
    select * from {{ ref('login_types') }}
),

identities as (
    select * from {{ ref('int_identities') }}
),

classified as (
    select
        history.*,
        login_types.method,
        login_types.failure_reason,
        -- What Celonis says of success counts more than what a type usually means.
        case
            when history.success is null then coalesce(login_types.kind, 'failure')
            when not history.success then 'failure'
            when history.event_type like '%LOGOUT%' then 'logout'
            else 'login'
        end as kind
    from history
    left join login_types on history.event_type = login_types.event_type
)

select
    classified.event_id,
    classified.team,
    classified.occurred_at,
    classified.event_type,
    classified.kind,
    case when classified.kind = 'login' then coalesce(classified.method, 'other') end as method,
    case
        when classified.kind = 'failure'
            then coalesce(classified.failure_reason, lower(classified.event_type), 'unknown')
    end as failure_reason,
    classified.email,
    identities.user_key,
    classified.local_time,
    {{ is_outside_working_hours('classified.local_time') }} as is_outside_working_hours
from classified
left join identities
    on classified.team = identities.team
    and classified.email = identities.email
