with users as (
    select * from {{ ref('users') }}
),

bursts as (
    select
        team,
        case when is_followed_by_success then 'failed_login_burst_then_login' else 'failed_login_burst' end as kind,
        case when is_followed_by_success then 'critical' when user_key is null then 'low' else 'high' end as severity,
        started_at as found_at,
        user_key,
        email,
        cast(null as text) as subject,
        burst_id as evidence_id,
        failures || ' failed logins of ' || email || ' in a row'
        || case when is_locked_out then ', the account was locked' else '' end
        || case when is_followed_by_success then ', and then a login' else '' end as summary
    from {{ ref('failed_login_bursts') }}
),

admin_grants as (
    select
        team,
        case when is_outside_working_hours then 'admin_granted_off_hours' else 'admin_granted' end as kind,
        case when is_outside_working_hours or is_own then 'critical' else 'high' end as severity,
        occurred_at as found_at,
        user_key,
        actor_email as email,
        subject_name as subject,
        event_id as evidence_id,
        coalesce(actor_email, 'Somebody') || ' made '
        || case when is_own then 'themselves' else coalesce(subject_name, 'somebody') end
        || ' an administrator'
        || case when is_outside_working_hours then ', outside working hours' else '' end as summary
    from {{ ref('permission_changes') }}
    where is_admin_grant
),

own_grants as (
    select
        team,
        'granted_to_oneself' as kind,
        'high' as severity,
        occurred_at as found_at,
        user_key,
        actor_email as email,
        object_name as subject,
        event_id as evidence_id,
        coalesce(actor_email, 'Somebody') || ' gave themselves '
        || coalesce(added, object_name, 'rights') as summary
    from {{ ref('permission_changes') }}
    where is_own and direction = 'granted' and kind in ('permission', 'group') and not is_admin_grant
),

dormant_admins as (
    select
        team,
        'dormant_admin' as kind,
        'high' as severity,
        dormant_since as found_at,
        user_key,
        email,
        cast(null as text) as subject,
        cast(null as text) as evidence_id,
        'Administrator ' || coalesce(email, user_key)
        || coalesce(' was not seen for ' || days_since_seen || ' days', ' was never seen') as summary
    from users
    where is_admin and is_dormant
),

gone_with_access as (
    select
        team,
        'gone_with_access' as kind,
        'high' as severity,
        gone_since as found_at,
        user_key,
        email,
        cast(null as text) as subject,
        cast(null as text) as evidence_id,
        coalesce(email, user_key) || ' is not in the team any more, but '
        || case
            when permission_count > 0 then 'holds ' || permission_count || ' permissions'
            else 'was seen after that'
        end as summary
    from users
    where has_access_though_gone
),

touched_logs as (
    select
        team,
        case when kind = 'deleted' then 'log_deleted' else 'log_settings_changed' end as kind,
        risk as severity,
        occurred_at as found_at,
        user_key,
        actor_email as email,
        log as subject,
        event_id as evidence_id,
        coalesce(actor_email, 'Celonis')
        || case when kind = 'deleted' then ' deleted ' else ' changed the settings of ' end
        || log as summary
    from {{ ref('log_integrity_events') }}
    where kind in ('deleted', 'settings') and not is_by_retention
),

door_changes as (
    select
        team,
        'protection_changed' as kind,
        risk as severity,
        occurred_at as found_at,
        user_key,
        actor_email as email,
        object as subject,
        event_id as evidence_id,
        coalesce(actor_email, 'Celonis') || ' changed the protection of the team: '
        || object || ' ' || action as summary
    from {{ ref('audit_events') }}
    where
        object in (
            'SSO provider', 'two-factor authentication', 'IP restriction', 'open signup', 'SCIM',
            'lock policy', 'session timeout', 'admin notification', 'AI kill switch'
        )
        and risk in ('high', 'critical')
),

-- Days that nothing is expected on, such as weekends, do not end a silence: the next event does.
silences as (
    select
        *,
        count(case when events > 0 then 1 end) over (partition by team, log order by day) as place
    from {{ ref('log_days') }}
),

silent_days as (
    select
        team,
        'log_silent' as kind,
        'high' as severity,
        cast(max(day) as timestamp) as found_at,
        cast(null as text) as user_key,
        cast(null as text) as email,
        log as subject,
        team || '/' || log || '/' || min(day) as evidence_id,
        log || ' has no event on ' || count(*)
        || case when count(*) = 1 then ' day that usually has some' else ' days that usually have some' end
            as summary
    from silences
    where is_silent
    group by team, log, place
),

findings as (
    select * from bursts
    union all
    select * from admin_grants
    union all
    select * from own_grants
    union all
    select * from dormant_admins
    union all
    select * from gone_with_access
    union all
    select * from touched_logs
    union all
    select * from door_changes
    union all
    select * from silent_days
)

select
    kind || '/' || coalesce(evidence_id, user_key) as finding_id,
    team,
    kind,
    severity,
    found_at,
    user_key,
    email,
    subject,
    evidence_id,
    summary
from findings
