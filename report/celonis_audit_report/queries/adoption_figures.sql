-- title: Use in figures
-- monthly_active_users: People who logged in on the last complete day that there is, of the last 30, or the 29 before.
-- weekly_active_users: People who logged in on that day or the six before.
-- daily_active_users: People who logged in on a day, on average over those of the last 30 complete days that are loaded.
-- stickiness_percent: Daily by monthly active users, as Celonis defines it, on average over the same days.
select
    coalesce(sum(last_monthly_active_users), 0) as monthly_active_users,
    coalesce(sum(last_weekly_active_users), 0) as weekly_active_users,
    cast(round(avg(daily_active_users)) as integer) as daily_active_users,
    cast(round(100 * avg(stickiness)) as integer) as stickiness_percent
from (
    select
        day,
        sum(case when place = 1 then monthly_active_users end) as last_monthly_active_users,
        sum(case when place = 1 then weekly_active_users end) as last_weekly_active_users,
        sum(daily_active_users) as daily_active_users,
        sum(daily_active_users) * 1.0 / nullif(sum(monthly_active_users), 0) as stickiness
    from (
        select *, row_number() over (partition by team order by day desc) as place
        from adoption_daily
        where
            day < (select local_day from report_window)
            and day >= (select local_day - 30 from report_window)
    ) as days_of_teams
    group by day
) as days
