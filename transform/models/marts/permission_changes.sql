with details as (
    select * from {{ ref('int_permission_events') }}
),

differences as (
    select * from {{ ref('int_permission_differences') }}
),

audit_events as (
    select * from {{ ref('audit_events') }}
),

identities as (
    select * from {{ ref('int_identities') }}
),

admin_groups as (
    select distinct team, group_name
    from {{ ref('int_member_groups') }}
    where {{ is_admin_role('team_role') }}
),

changes as (
    select
        events.event_id,
        events.team,
        events.occurred_at,
        events.event,
        details.kind,
        details.direction as direction_of_event,
        events.user_key,
        events.actor_email,
        details.subject_type,
        case
            -- Nobody but its owner makes a key of a user.
            when details.kind = 'credential' and details.subject_type = 'USER' then events.actor_email
            else coalesce(details.subject_email, details.subject_name)
        end as subject_name,
        case
            when details.kind = 'credential' and details.subject_type = 'USER' then events.user_key
            when details.subject_type = 'USER' then coalesce(
                events.team || '/' || details.subject_id, subjects.user_key
            )
        end as subject_user_key,
        events.object_name,
        case details.kind
            when 'permission' then differences.old_value
            when 'role' then details.old_value
            -- Who is removed had the role that the event tells.
            when 'membership' then case when details.direction = 'revoked' then details.new_value end
        end as old_value,
        case
            when details.kind in ('permission', 'credential') then differences.new_value
            when
                details.kind = 'role'
                or details.kind = 'membership' and details.direction <> 'revoked'
                then details.new_value
        end as new_value,
        differences.added,
        differences.removed,
        events.event = 'ADMIN USER INVITED'
        or details.kind in ('role', 'membership')
        and details.direction <> 'revoked'
        and {{ is_admin_role('details.new_value') }}
        and not {{ is_admin_role('details.old_value') }}
        or details.kind = 'group'
        and details.direction = 'granted'
        and admin_groups.group_name is not null as is_admin_grant,
        events.risk,
        events.local_time,
        events.is_outside_working_hours
    from details
    inner join audit_events as events on details.event_id = events.event_id
    left join differences on details.event_id = differences.event_id
    left join identities as subjects
        on events.team = subjects.team
        and coalesce(details.subject_email, lower(details.subject_name)) = subjects.email
    left join admin_groups
        on events.team = admin_groups.team
        and events.object_name = admin_groups.group_name
),

directed as (
    select
        *,
        case
            when is_admin_grant then 'granted'
            when kind = 'role' and {{ is_admin_role('old_value') }} then 'revoked'
            when kind = 'permission' and coalesce(old_value, new_value) is not null
                then case
                    when added is null and removed is null then 'none'
                    when removed is null then 'granted'
                    when added is null then 'revoked'
                    else 'changed'
                end
            else direction_of_event
        end as direction
    from changes
)

select
    event_id,
    team,
    occurred_at,
    event,
    kind,
    direction,
    user_key,
    actor_email,
    subject_type,
    subject_name,
    subject_user_key,
    object_name,
    old_value,
    new_value,
    added,
    removed,
    is_admin_grant,
    coalesce(user_key = subject_user_key, false) as is_own,
    case when is_admin_grant then 'critical' else risk end as risk,
    local_time,
    is_outside_working_hours
from directed
