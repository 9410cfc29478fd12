{#- The login history in the words of OCSF. Of a type that is not documented, its name and `success`
    tell what it is: what failed was an attempt to log in. -#}
{{ config(materialized='ephemeral') }}

with login_history as (
    select * from {{ ref('stg_celonis__login_history') }}
),

login_types as (
    select * from {{ ref('login_types') }}
),

activities as (
    select * from {{ ref('ocsf_activities') }}
),

decided as (
    select
        login_history.event_id,
        login_history.team,
        login_history."timestamp" as occurred_at,
        login_history.authentication_event_type as event,
        login_history.email,
        login_history.additional_fields,
        login_types.method,
        login_types.failure_reason,
        3002 as class_uid,
        case
            when login_history.authentication_event_type like '%LOGOUT%' then 2
            when login_types.kind is not null then 1
            when login_history.authentication_event_type like '%LOGIN%' then 1
            when not login_history.success then 1
            else 99
        end as activity_id,
        -- What Celonis says of success counts more than what a type usually means.
        case
            when login_history.success then 1
            when not login_history.success then 2
            when login_types.kind = 'failure' then 2
            when login_types.kind in ('login', 'logout') then 1
            else 0
        end as status_id
    from login_history
    left join login_types on login_history.authentication_event_type = login_types.event_type
)

select
    decided.*,
    'login_history' as log_name,
    activities.class_name,
    activities.category_uid,
    activities.category_name,
    activities.activity_name as activity_caption,
    case
        when decided.activity_id = 99 then coalesce(decided.event, 'Unknown')
        else activities.activity_name
    end as activity_name,
    case
        when decided.failure_reason = 'account_locked' then 3
        else decided.status_id
    end as severity_id,
    decided.email as about,
    {{ ocsf_unmapped({'additional_fields': 'cast(decided.additional_fields as text)'}) }} as unmapped
from decided
inner join activities
    on decided.class_uid * 100 + decided.activity_id = activities.class_uid * 100 + activities.activity_id
