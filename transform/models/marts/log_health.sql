with events as (
    select
        *,
        lag(occurred_at) over (partition by team, log order by occurred_at) as previous_at
    from {{ ref('int_log_events') }}
),

loads as (
    select team, 'audit_logs' as log, max(loaded_at) as last_loaded_at
    from {{ ref('stg_celonis__audit_logs') }}
    group by team
    union all
    select team, 'login_history', max(loaded_at)
    from {{ ref('stg_celonis__login_history') }}
    group by team
    union all
    select team, 'studio_adoption', max(loaded_at)
    from {{ ref('stg_celonis__studio_adoption') }}
    group by team
),

gaps as (
    select
        team,
        log,
        previous_at,
        {{ seconds_between('previous_at', 'occurred_at') }} / 3600 as hours
    from events
    where previous_at is not null
),

longest_gaps as (
    select
        team,
        log,
        max(hours) as hours
    from gaps
    group by team, log
),

silences as (
    select
        gaps.team,
        gaps.log,
        gaps.hours as longest_silence_hours,
        min(gaps.previous_at) as longest_silence_from
    from gaps
    inner join longest_gaps
        on gaps.team = longest_gaps.team
        and gaps.log = longest_gaps.log
        and gaps.hours = longest_gaps.hours
    group by gaps.team, gaps.log, gaps.hours
),

teams as (
    select team from {{ ref('stg_celonis__members') }}
    union
    select team from {{ ref('int_log_events') }}
),

logs as (
    select team, log
    from teams
    cross join (values ('audit_logs'), ('login_history'), ('studio_adoption')) as known (log)
),

totals as (
    select
        team,
        log,
        count(*) as events,
        count(distinct event_id) as distinct_events,
        min(occurred_at) as first_event_at,
        max(occurred_at) as last_event_at
    from events
    group by team, log
),

days as (
    select
        team,
        log,
        count(*) as days,
        count(case when is_silent then 1 end) as silent_days
    from {{ ref('log_days') }}
    group by team, log
),

touched as (
    select
        team,
        log,
        count(case when kind = 'deleted' and not is_by_retention then 1 end) as deletions,
        count(case when is_by_retention then 1 end) as retention_deletions,
        count(case when kind = 'settings' then 1 end) as settings_changes,
        count(case when kind = 'exported' then 1 end) as exports
    from {{ ref('log_integrity_events') }}
    group by team, log
)

select
    logs.team,
    logs.log,
    coalesce(totals.events, 0) as events,
    coalesce(totals.distinct_events, 0) as distinct_events,
    totals.first_event_at,
    totals.last_event_at,
    loads.last_loaded_at,
    cast(
        floor({{ seconds_between('totals.last_event_at', as_of()) }} / 3600) as integer
    ) as hours_since_last_event,
    coalesce(days.days, 0) as days,
    coalesce(days.silent_days, 0) as silent_days,
    silences.longest_silence_hours,
    silences.longest_silence_from,
    coalesce(touched.deletions, 0) as deletions,
    coalesce(touched.retention_deletions, 0) as retention_deletions,
    coalesce(touched.settings_changes, 0) as settings_changes,
    coalesce(touched.exports, 0) as exports
from logs
left join totals on logs.team = totals.team and logs.log = totals.log
left join loads on logs.team = loads.team and logs.log = loads.log
left join days on logs.team = days.team and logs.log = days.log
left join touched on logs.team = touched.team and logs.log = touched.log
left join silences on logs.team = silences.team and logs.log = silences.log
