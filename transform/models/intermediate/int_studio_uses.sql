with uses as (
    select * from {{ ref('stg_celonis__studio_adoption') }}
),

identities as (
    select * from {{ ref('int_identities') }}
)

select
    uses.event_id,
    uses.team,
    uses."timestamp" as occurred_at,
    {{ local_time('uses."timestamp"') }} as local_time,
    coalesce(identities.user_key, uses.team || '/' || uses.user_id) as user_key,
    uses.team || '/' || coalesce(uses.asset_id, uses.asset_name) as asset_key,
    uses.asset_name,
    uses.asset_type,
    uses.package_name
from uses
left join identities
    on uses.team = identities.team
    and lower(uses.user_email) = identities.email
