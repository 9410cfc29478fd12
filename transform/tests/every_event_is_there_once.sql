{#- Nothing lost, nothing twice, from the loaded tables to the marts. -#}

with loaded as (
    select event_id from {{ ref('stg_celonis__audit_logs') }}
    union all
    select event_id from {{ ref('stg_celonis__login_history') }}
),

shown as (
    select event_id from {{ ref('audit_events') }}
    union all
    select event_id from {{ ref('logins') }}
),

compared as (
    select event_id, 1 as is_loaded, 0 as is_shown from loaded
    union all
    select event_id, 0, 1 from shown
)

select event_id
from compared
group by event_id
having sum(is_loaded) <> 1 or sum(is_shown) <> 1
