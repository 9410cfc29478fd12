with people as (
    select * from {{ ref('int_people') }}
),

sightings as (
    select
        user_key,
        min(first_at) as first_at,
        max(last_at) as last_at,
        max(case when log = 'audit_logs' then last_at end) as last_action_at,
        max(case when log = 'login_history' then last_at end) as last_login_at,
        max(case when log = 'studio_adoption' then last_at end) as last_use_at,
        cast(sum(case when log = 'audit_logs' then sightings else 0 end) as bigint) as action_count,
        cast(sum(case when log = 'login_history' then sightings else 0 end) as bigint) as login_count,
        cast(sum(failures) as bigint) as failed_login_count
    from {{ ref('int_sightings') }}
    group by user_key
),

user_groups as (
    select
        user_key,
        string_agg(group_name, ', ' order by group_name) as group_names,
        count(*) as group_count
    from {{ ref('user_groups') }}
    group by user_key
),

permissions as (
    select
        user_key,
        count(*) as permission_count
    from {{ ref('permissions') }}
    where user_key is not null
    group by user_key
),

comings_and_goings as (
    select
        subject_user_key as user_key,
        max(case when direction = 'granted' then occurred_at end) as last_came_at,
        max(case when direction = 'revoked' then occurred_at end) as last_left_at
    from {{ ref('permission_changes') }}
    where kind = 'membership' and subject_user_key is not null
    group by subject_user_key
),

seen as (
    select
        people.*,
        sightings.first_at,
        greatest(sightings.last_at, people.last_login_at) as last_at,
        sightings.last_action_at,
        greatest(sightings.last_login_at, people.last_login_at) as last_logged_in_at,
        sightings.last_use_at,
        coalesce(sightings.login_count, 0) as login_count,
        coalesce(sightings.failed_login_count, 0) as failed_login_count,
        coalesce(sightings.action_count, 0) as action_count,
        user_groups.group_names,
        coalesce(user_groups.group_count, 0) as group_count,
        coalesce(permissions.permission_count, 0) as permission_count,
        coalesce(not people.is_member, false) as is_gone,
        case
            when comings_and_goings.last_left_at >= comings_and_goings.last_came_at
                or comings_and_goings.last_came_at is null
                then comings_and_goings.last_left_at
        end as last_left_at
    from people
    left join sightings on people.user_key = sightings.user_key
    left join user_groups on people.user_key = user_groups.user_key
    left join permissions on people.user_key = permissions.user_key
    left join comings_and_goings on people.user_key = comings_and_goings.user_key
),

judged as (
    select
        *,
        case when is_gone then last_left_at end as gone_since,
        coalesce(is_member, false)
        and coalesce(lower(status), 'active') = 'active'
        and coalesce(
            last_at < {{ as_of() }} - interval '{{ var("dormant_days") }} days', true
        ) as is_dormant
    from seen
)

select
    user_key,
    team,
    user_id,
    email,
    name,
    role,
    status,
    is_member,
    is_gone,
    gone_since,
    coalesce(is_member, false) and {{ is_admin_role('role') }} as is_admin,
    group_names,
    group_count,
    permission_count,
    first_at as first_seen_at,
    last_at as last_seen_at,
    last_logged_in_at as last_login_at,
    last_action_at,
    last_use_at,
    login_count,
    failed_login_count,
    action_count,
    is_dormant,
    case when is_dormant then last_at end as dormant_since,
    cast(
        floor({{ seconds_between('last_at', 'greatest(last_at, ' ~ as_of() ~ ')') }} / 86400) as integer
    ) as days_since_seen,
    is_gone
    and (permission_count > 0 or coalesce(last_at > gone_since, false)) as has_access_though_gone
from judged
