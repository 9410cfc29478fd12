with memberships as (
    select
        team,
        user_id,
        {{ json_elements('groups') }} as membership
    from {{ ref('stg_celonis__members') }}
    where is_current
)

select distinct
    team,
    team || '/' || user_id as user_key,
    membership ->> 'name' as group_name,
    membership ->> 'team_role' as team_role
from memberships
