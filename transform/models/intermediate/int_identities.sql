{#- Whose e-mail address it is: one row a team and address. The logs of logins know addresses only. An
    address that several people had belongs to the member, or to who used it last. -#}
{{ config(materialized='table') }}

with members as (
    select team, lower(email) as email, user_id, is_current
    from {{ ref('stg_celonis__members') }}
    where email is not null
),

actors as (
    select team, actor_email as email, actor_id, max(occurred_at) as last_seen_at
    from {{ ref('int_audit_events') }}
    where actor_type <> 'SYSTEM' and actor_email is not null
    group by team, actor_email, actor_id
),

logins as (
    select history.team, lower(history.email) as email, max(history."timestamp") as last_seen_at
    from {{ ref('stg_celonis__login_history') }} as history
    left join {{ ref('login_types') }} as login_types
        on history.authentication_event_type = login_types.event_type
    where coalesce(history.success, login_types.kind <> 'failure') and history.email is not null
    group by history.team, lower(history.email)
),

studio_users as (
    select team, lower(user_email) as email, user_id, max("timestamp") as last_seen_at
    from {{ ref('stg_celonis__studio_adoption') }}
    where user_email is not null
    group by team, lower(user_email), user_id
),

claims as (
    select team, email, user_id, case when is_current then 1 else 2 end as rank, null as last_seen_at
    from members
    union all
    select team, email, actor_id, 3, last_seen_at from actors where actor_id is not null
    union all
    select team, email, user_id, 4, last_seen_at from studio_users where user_id is not null
    union all
    select team, email, null, 5, last_seen_at from actors where actor_id is null
    union all
    select team, email, null, 5, last_seen_at from studio_users where user_id is null
    union all
    select team, email, null, 5, last_seen_at from logins
),

ranked as (
    select
        *,
        row_number() over (
            partition by team, email order by rank, last_seen_at desc nulls last, user_id
        ) as place
    from claims
)

select
    team,
    email,
    user_id,
    team || '/' || coalesce(user_id, email) as user_key
from ranked
where place = 1
