with actions as (
    select
        team,
        cast(local_time as date) as day,
        count(*) as audit_events,
        count(distinct user_key) as acting_users,
        count(case when is_privileged and actor_type <> 'SYSTEM' then 1 end) as privileged_actions,
        count(case when is_outside_working_hours then 1 end) as off_hours_actions,
        count(
            case when risk in ('high', 'critical') and actor_type <> 'SYSTEM' then 1 end
        ) as high_risk_actions
    from {{ ref('audit_events') }}
    group by team, cast(local_time as date)
),

logins as (
    select
        team,
        cast(local_time as date) as day,
        count(case when kind = 'login' then 1 end) as logins,
        count(case when kind = 'failure' then 1 end) as failed_logins
    from {{ ref('logins') }}
    group by team, cast(local_time as date)
),

days as (
    select team, day from actions
    union
    select team, day from logins
)

select
    days.team,
    days.day,
    coalesce(actions.audit_events, 0) as audit_events,
    coalesce(actions.acting_users, 0) as acting_users,
    coalesce(actions.privileged_actions, 0) as privileged_actions,
    coalesce(actions.off_hours_actions, 0) as off_hours_actions,
    coalesce(actions.high_risk_actions, 0) as high_risk_actions,
    coalesce(logins.logins, 0) as logins,
    coalesce(logins.failed_logins, 0) as failed_logins
from days
left join actions on days.team = actions.team and days.day = actions.day
left join logins on days.team = logins.team and days.day = logins.day
