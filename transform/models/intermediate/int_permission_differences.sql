{#- Lists of permissions, old against new. -#}

with events as (
    select event_id, old_permissions, new_permissions
    from {{ ref('int_permission_events') }}
),

items as (
    select event_id, {{ json_items('old_permissions') }} as item, 'old' as side
    from events
    where old_permissions is not null
    union all
    select event_id, {{ json_items('new_permissions') }} as item, 'new' as side
    from events
    where new_permissions is not null
),

sides as (
    select
        event_id,
        item,
        max(case when side = 'old' then 1 else 0 end) = 1 as was_there,
        max(case when side = 'new' then 1 else 0 end) = 1 as is_there
    from items
    where item is not null
    group by event_id, item
)

select
    event_id,
    string_agg(case when was_there then item end, ', ' order by item) as old_value,
    string_agg(case when is_there then item end, ', ' order by item) as new_value,
    string_agg(case when is_there and not was_there then item end, ', ' order by item) as added,
    string_agg(case when was_there and not is_there then item end, ', ' order by item) as removed
from sides
group by event_id
