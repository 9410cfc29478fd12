with logins as (
    select * from {{ ref('logins') }}
    where kind in ('login', 'logout')
),

followed as (
    select
        *,
        lead(kind) over in_turn as next_kind,
        lead(occurred_at) over in_turn as next_at
    from logins
    window in_turn as (partition by team, email order by occurred_at, kind, event_id)
),

limited as (
    select
        *,
        occurred_at + interval '{{ var("session_hours") }} hours' as times_out_at
    from followed
    where kind = 'login'
),

ended as (
    select
        *,
        case
            when next_kind = 'logout' then 'logout'
            when next_kind = 'login' and next_at <= times_out_at then 'login'
            when times_out_at <= {{ as_of() }} then 'timeout'
            else 'open'
        end as ended_by
    from limited
),

timed as (
    select
        *,
        case
            when ended_by in ('logout', 'login') then next_at
            when ended_by = 'timeout' then times_out_at
        end as ended_at
    from ended
)

select
    event_id as session_id,
    team,
    user_key,
    email,
    method,
    occurred_at as started_at,
    ended_at,
    ended_by,
    {{ seconds_between('occurred_at', 'ended_at') }} / 60 as duration_minutes,
    is_outside_working_hours
from timed
