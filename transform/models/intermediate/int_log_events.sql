{#- When something happened in each log, without the rest. -#}

select team, 'audit_logs' as log, event_id, occurred_at from {{ ref('int_audit_events') }}
union all
select team, 'login_history', event_id, "timestamp" from {{ ref('stg_celonis__login_history') }}
union all
select team, 'studio_adoption', event_id, "timestamp" from {{ ref('stg_celonis__studio_adoption') }}
