with logins as (
    select * from {{ ref('logins') }}
),

failures as (
    select
        *,
        lag(occurred_at) over (
            partition by team, email order by occurred_at, event_id
        ) as previous_at
    from logins
    where kind = 'failure' and email is not null
),

numbered as (
    select
        *,
        sum(
            case
                when occurred_at <= previous_at + interval '{{ var("burst_pause_minutes") }} minutes' then 0
                else 1
            end
        ) over (
            partition by team, email order by occurred_at, event_id
            rows between unbounded preceding and current row
        ) as series,
        row_number() over (partition by team, email order by occurred_at, event_id) as place
    from failures
),

placed as (
    select
        *,
        first_value(event_id) over (
            partition by team, email, series order by place
        ) as burst_id
    from numbered
),

bursts as (
    select
        burst_id,
        team,
        email,
        max(user_key) as user_key,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        count(*) as failures,
        string_agg(distinct failure_reason, ', ' order by failure_reason) as reasons,
        count(case when failure_reason = 'account_locked' then 1 end) > 0 as is_locked_out
    from placed
    group by burst_id, team, email
    having count(*) >= {{ var('burst_failures') }}
),

successes as (
    select
        bursts.burst_id,
        logins.occurred_at as success_at,
        logins.method as success_method,
        row_number() over (
            partition by bursts.burst_id order by logins.occurred_at, logins.event_id
        ) as place
    from bursts
    inner join logins
        on bursts.team = logins.team
        and bursts.email = logins.email
        and logins.kind = 'login'
        and logins.occurred_at >= bursts.started_at
        and logins.occurred_at <= bursts.ended_at + interval '{{ var("burst_success_minutes") }} minutes'
),

localized as (
    select
        *,
        {{ local_time('started_at') }} as local_time
    from bursts
)

select
    localized.burst_id,
    localized.team,
    localized.email,
    localized.user_key,
    localized.started_at,
    localized.ended_at,
    {{ seconds_between('localized.started_at', 'localized.ended_at') }} as duration_seconds,
    localized.failures,
    localized.reasons,
    localized.is_locked_out,
    successes.success_at is not null as is_followed_by_success,
    successes.success_at,
    successes.success_method,
    localized.local_time,
    {{ is_outside_working_hours('localized.local_time') }} as is_outside_working_hours
from localized
left join successes
    on localized.burst_id = successes.burst_id
    and successes.place = 1
