with loaded as (
    {{ loaded_rows('permissions', key=['permission_id'], is_copied_whole=true) }}
)

select
    permission_id,
    subject_name,
    subject_type,
    subject_id,
    "groups",
    role,
    service,
    object_name,
    object_type,
    object_id,
    actions,
    team,
    additional_fields,
    loaded_at,
    is_current
from loaded
