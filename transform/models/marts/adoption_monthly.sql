with active_days as (
    select
        *,
        cast(date_trunc('month', day) as date) as month
    from {{ ref('int_active_days') }}
),

first_logins as (
    select
        team,
        user_key,
        min(month) as month
    from active_days
    where logins > 0
    group by team, user_key
),

newcomers as (
    select
        team,
        month,
        count(*) as new_users
    from first_logins
    group by team, month
),

months as (
    select
        team,
        month,
        -- Of the current month, the days up to today.
        least(
            cast(month + interval '1 month' as date), cast({{ local_time(as_of()) }} as date) + 1
        ) as end_day,
        cast(month + interval '1 month' as date) as next_month,
        count(distinct case when logins > 0 then user_key end) as monthly_active_users,
        count(case when logins > 0 then 1 end) as active_days,
        cast(sum(logins) as bigint) as logins,
        count(distinct case when studio_uses > 0 then user_key end) as studio_users,
        cast(sum(studio_uses) as bigint) as studio_uses
    from active_days
    group by team, month
),

averaged as (
    select
        *,
        cast(active_days as double precision) / greatest(end_day - month, 1) as average_daily_active_users
    from months
)

select
    averaged.team,
    averaged.month,
    averaged.next_month <= cast({{ local_time(as_of()) }} as date) as is_complete,
    averaged.monthly_active_users,
    averaged.average_daily_active_users,
    averaged.average_daily_active_users / nullif(averaged.monthly_active_users, 0) as stickiness,
    averaged.logins,
    coalesce(newcomers.new_users, 0) as new_users,
    averaged.studio_users,
    averaged.studio_uses
from averaged
left join newcomers on averaged.team = newcomers.team and averaged.month = newcomers.month
