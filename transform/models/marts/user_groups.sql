with member_groups as (
    select * from {{ ref('int_member_groups') }}
)

select
    user_key,
    team,
    group_name,
    team_role
from member_groups
where group_name is not null
