{#- Who there is, by everything that tells of people. -#}

with members as (
    select
        team,
        team || '/' || user_id as user_key,
        user_id,
        lower(email) as email,
        name,
        user_role as role,
        status,
        is_current,
        coalesce(
            last_login_at,
            coalesce(loaded_at, {{ as_of() }}) - inactivity_days * interval '1 day'
        ) as last_login_at
    from {{ ref('stg_celonis__members') }}
),

actors as (
    select
        team,
        user_key,
        actor_id as user_id,
        actor_email as email,
        actor_role as role,
        row_number() over (partition by user_key order by occurred_at desc, event_id) as place
    from {{ ref('audit_events') }}
    where user_key is not null
),

permission_holders as (
    select
        team,
        team || '/' || subject_id as user_key,
        subject_id as user_id,
        case when subject_name like '%@%' then lower(subject_name) end as email
    from {{ ref('stg_celonis__permissions') }}
    where is_current and subject_type = 'USER' and subject_id is not null
),

teams_with_members as (
    select distinct team from members
),

people as (
    select team, user_key, user_id, email from members
    union all
    select team, user_key, user_id, email from actors where place = 1
    union all
    select team, user_key, user_id, email from {{ ref('int_identities') }}
    union all
    select team, user_key, user_id, email from permission_holders
    union all
    select team, user_key, null, null from {{ ref('int_studio_uses') }} where user_key is not null
),

distinct_people as (
    select
        team,
        user_key,
        max(user_id) as user_id,
        max(email) as email
    from people
    group by team, user_key
)

select
    distinct_people.team,
    distinct_people.user_key,
    distinct_people.user_id,
    coalesce(members.email, actors.email, distinct_people.email) as email,
    members.name,
    coalesce(members.role, actors.role) as role,
    members.status,
    members.last_login_at,
    -- Without a list of members nobody can tell.
    case
        when teams_with_members.team is not null then coalesce(members.is_current, false)
    end as is_member
from distinct_people
left join members on distinct_people.user_key = members.user_key
left join actors on distinct_people.user_key = actors.user_key and actors.place = 1
left join teams_with_members on distinct_people.team = teams_with_members.team
