select distinct
    permission_id,
    action
from (
    select permission_id, {{ json_items('actions') }} as action
    from {{ ref('stg_celonis__permissions') }}
    where is_current and actions is not null
) as items
