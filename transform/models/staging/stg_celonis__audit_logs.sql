with loaded as (
    {{ loaded_rows('audit_logs', key=['event_id']) }}
)

select
    event_id,
    "timestamp",
    event,
    user_id,
    actor_id,
    actor_email,
    actor_type,
    user_role,
    ip_address,
    port,
    message,
    diff_payload,
    team,
    additional_fields,
    loaded_at
from loaded
