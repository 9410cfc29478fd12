with loaded as (
    {{ loaded_rows('login_history', key=['event_id']) }}
)

select
    event_id,
    "timestamp",
    authentication_event_type,
    email,
    success,
    team,
    additional_fields,
    loaded_at
from loaded
