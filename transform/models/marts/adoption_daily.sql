with active_days as (
    select * from {{ ref('int_active_days') }}
),

spans as (
    select
        team,
        min(day) as first_day,
        max(day) as last_day
    from active_days
    group by team
),

days as (
    select team, {{ each_day('first_day', 'last_day') }} as day
    from spans
),

daily as (
    select
        team,
        day,
        count(case when logins > 0 then 1 end) as daily_active_users,
        cast(sum(logins) as bigint) as logins,
        count(case when studio_uses > 0 then 1 end) as studio_users,
        cast(sum(studio_uses) as bigint) as studio_uses
    from active_days
    group by team, day
),

-- A login counts for the days after it, up to the next login of the same person.
reach as (
    select
        team,
        user_key,
        day as first_day,
        lead(day) over (partition by team, user_key order by day) as next_day
    from active_days
    where logins > 0
),

spread as (
    select team, user_key, first_day, {{ each_day('first_day', 'first_day + 29') }} as day, next_day
    from reach
),

rolling as (
    select
        team,
        day,
        count(case when day < first_day + 7 then 1 end) as weekly_active_users,
        count(*) as monthly_active_users
    from spread
    where next_day is null or day < next_day
    group by team, day
)

select
    days.team,
    days.day,
    coalesce(daily.daily_active_users, 0) as daily_active_users,
    coalesce(rolling.weekly_active_users, 0) as weekly_active_users,
    coalesce(rolling.monthly_active_users, 0) as monthly_active_users,
    cast(coalesce(daily.daily_active_users, 0) as double precision)
    / rolling.monthly_active_users as stickiness,
    coalesce(daily.logins, 0) as logins,
    coalesce(daily.studio_users, 0) as studio_users,
    coalesce(daily.studio_uses, 0) as studio_uses
from days
left join daily on days.team = daily.team and days.day = daily.day
left join rolling on days.team = rolling.team and days.day = rolling.day
