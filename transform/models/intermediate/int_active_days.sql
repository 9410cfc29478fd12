{#- On which days somebody was active: one row a team, person and day. -#}
{{ config(materialized='table') }}

with activity as (
    select
        team,
        coalesce(user_key, team || '/' || email) as user_key,
        cast(local_time as date) as day,
        1 as logins,
        0 as studio_uses
    from {{ ref('logins') }}
    where kind = 'login' and email is not null
    union all
    select
        team,
        user_key,
        cast(local_time as date) as day,
        0 as logins,
        1 as studio_uses
    from {{ ref('int_studio_uses') }}
    where user_key is not null
)

select
    team,
    user_key,
    day,
    cast(sum(logins) as bigint) as logins,
    cast(sum(studio_uses) as bigint) as studio_uses
from activity
group by team, user_key, day
