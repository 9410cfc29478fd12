{#- Documented events have one of their own, with an activity that it has; and nothing is lost or
    doubled on the way from the loaded tables to OCSF. -#}

with classless as (
    select catalog.event
    from {{ ref('event_catalog') }} as catalog
    left join {{ ref('ocsf_audit_events') }} as classes on catalog.event = classes.event
    left join {{ ref('ocsf_activities') }} as activities
        on classes.class_uid = activities.class_uid and classes.activity_id = activities.activity_id
    where
        activities.class_uid is null
        or (classes.activity_id = 99) <> (classes.activity_name is not null)
),

loaded as (
    select event_id from {{ ref('stg_celonis__audit_logs') }}
    union all
    select event_id from {{ ref('stg_celonis__login_history') }}
),

compared as (
    select event_id, 1 as is_loaded, 0 as is_shown from loaded
    union all
    select event_id, 0, 1 from {{ ref('ocsf_events') }}
)

select event as problem from classless
union all
select event_id
from compared
group by event_id
having sum(is_loaded) <> 1 or sum(is_shown) <> 1
