with counted as (
    select
        team,
        log,
        cast(occurred_at as date) as day,
        count(*) as events
    from {{ ref('int_log_events') }}
    group by team, log, cast(occurred_at as date)
),

-- A log that stops is silent for as long as the team has events in another one. The last day of all
-- is not over yet.
spans as (
    select
        team,
        log,
        min(day) as first_day,
        greatest(max(day), max(max(day)) over (partition by team) - 1) as last_day
    from counted
    group by team, log
),

calendar as (
    select
        team,
        log,
        {{ each_day('first_day', 'last_day') }} as day
    from spans
),

days as (
    select
        calendar.team,
        calendar.log,
        calendar.day,
        coalesce(counted.events, 0) as events
    from calendar
    left join counted
        on calendar.team = counted.team
        and calendar.log = counted.log
        and calendar.day = counted.day
),

usual as (
    select
        days.team,
        days.log,
        days.day,
        percentile_cont(0.5) within group (order by before.events) as usual_events
    from days
    inner join days as before
        on days.team = before.team
        and days.log = before.log
        and before.day < days.day
        and before.day >= days.day - 56
        and extract(isodow from before.day) = extract(isodow from days.day)
    group by days.team, days.log, days.day
    having count(*) >= 4
)

select
    days.team,
    days.log,
    days.day,
    days.events,
    usual.usual_events,
    days.events = 0 and coalesce(usual.usual_events, 0) >= 1 as is_silent
from days
left join usual
    on days.team = usual.team
    and days.log = usual.log
    and days.day = usual.day
