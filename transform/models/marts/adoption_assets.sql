with uses as (
    select
        *,
        row_number() over (partition by asset_key order by occurred_at desc, event_id) as place
    from {{ ref('int_studio_uses') }}
    where asset_key is not null
)

select
    team,
    asset_key,
    max(case when place = 1 then asset_name end) as asset_name,
    max(case when place = 1 then asset_type end) as asset_type,
    max(case when place = 1 then package_name end) as package_name,
    count(*) as uses,
    count(distinct user_key) as users,
    min(occurred_at) as first_used_at,
    max(occurred_at) as last_used_at
from uses
group by team, asset_key
