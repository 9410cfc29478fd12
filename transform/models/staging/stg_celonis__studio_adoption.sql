with loaded as (
    {{ loaded_rows('studio_adoption', key=['event_id']) }}
)

select
    event_id,
    "timestamp",
    "user",
    asset,
    team,
    additional_fields,
    ("user" ->> 'id') as user_id,
    ("user" ->> 'email') as user_email,
    (asset ->> 'id') as asset_id,
    (asset ->> 'name') as asset_name,
    (asset ->> 'type') as asset_type,
    (additional_fields ->> 'eventType') as event_type,
    (additional_fields -> 'package' ->> 'name') as package_name,
    loaded_at
from loaded
