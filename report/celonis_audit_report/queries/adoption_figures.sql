-- title: Use in figures
-- monthly_active_users: People who logged in on the last complete day or the 29 before.
-- weekly_active_users: People who logged in on the last complete day or the six before.
-- daily_active_users: People who logged in on a day, on average over the last 30 complete days.
-- stickiness_percent: Daily by monthly active users, as Celonis defines it, on average over the last 30 complete days.
select
    sum(case when place = 1 then monthly_active_users end) as monthly_active_users,
    sum(case when place = 1 then weekly_active_users end) as weekly_active_users,
    cast(round(sum(daily_active_users) / 30.0) as integer) as daily_active_users,
    cast(round(100 * avg(stickiness)) as integer) as stickiness_percent
from (
    select
        day,
        row_number() over (order by day desc) as place,
        sum(daily_active_users) as daily_active_users,
        sum(weekly_active_users) as weekly_active_users,
        sum(monthly_active_users) as monthly_active_users,
        sum(daily_active_users) * 1.0 / nullif(sum(monthly_active_users), 0) as stickiness
    from adoption_daily
    where day < (select cast(as_of as date) from report_window)
    group by day
) as days
where place <= 30
