with held as (
    select * from {{ ref('stg_celonis__permissions') }}
    where is_current
),

members as (
    select
        team,
        user_id,
        lower(email) as email,
        is_current
    from {{ ref('stg_celonis__members') }}
),

teams_with_members as (
    select distinct team from members
),

identities as (
    select * from {{ ref('int_identities') }}
),

actions as (
    select
        permission_id,
        string_agg(action, ', ' order by action) as actions,
        count(*) as action_count,
        max(
            case
                when upper(action) like '%MANAGE%' or upper(action) like '%DELETE%'
                    or upper(action) like '%SHARE%' or upper(action) like '%EXPORT%'
                    or upper(action) like '%INVITE%' or upper(action) like '%ADMIN%'
                    or upper(action) like 'USE%API' then 1
                else 0
            end
        ) = 1 as is_powerful
    from {{ ref('int_permission_actions') }}
    group by permission_id
),

subjects as (
    select
        held.*,
        case
            when held.subject_type = 'USER'
                then coalesce(held.team || '/' || held.subject_id, identities.user_key)
        end as user_key
    from held
    left join identities
        on held.team = identities.team
        and lower(held.subject_name) = identities.email
)

select
    subjects.permission_id,
    subjects.team,
    subjects.subject_type,
    subjects.subject_id,
    subjects.subject_name,
    subjects.user_key,
    subjects.service,
    subjects.object_type,
    subjects.object_id,
    subjects.object_name,
    actions.actions,
    coalesce(actions.action_count, 0) as action_count,
    coalesce(actions.is_powerful, false) as is_powerful,
    subjects.user_key is not null
    and teams_with_members.team is not null
    and members.user_id is null as is_held_by_somebody_gone
from subjects
left join actions on subjects.permission_id = actions.permission_id
left join teams_with_members on subjects.team = teams_with_members.team
left join members
    on subjects.team = members.team
    and subjects.user_key = members.team || '/' || members.user_id
    and members.is_current
