with loaded as (
    {{ loaded_rows('members', key=['team', 'user_id'], is_copied_whole=true) }}
)

select
    user_id,
    name_and_email,
    name,
    email,
    user_role,
    status,
    last_login,
    last_login_at,
    inactivity_days,
    "groups",
    team,
    additional_fields,
    loaded_at,
    is_current
from loaded
