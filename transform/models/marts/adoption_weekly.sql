with active_days as (
    select
        *,
        cast(date_trunc('week', day) as date) as week
    from {{ ref('int_active_days') }}
)

select
    team,
    week,
    week + 7 <= cast({{ local_time(as_of()) }} as date) as is_complete,
    count(distinct case when logins > 0 then user_key end) as weekly_active_users,
    cast(sum(logins) as bigint) as logins,
    count(distinct case when studio_uses > 0 then user_key end) as studio_users,
    cast(sum(studio_uses) as bigint) as studio_uses
from active_days
group by team, week
