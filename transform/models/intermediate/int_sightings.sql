{#- Every sign of life of a person, added up by the log that it is in. -#}

select
    team,
    user_key,
    'audit_logs' as log,
    min(occurred_at) as first_at,
    max(occurred_at) as last_at,
    count(*) as sightings,
    0 as failures
from {{ ref('audit_events') }}
where user_key is not null
group by team, user_key

union all

select
    team,
    user_key,
    'login_history' as log,
    min(case when kind = 'login' then occurred_at end) as first_at,
    max(case when kind = 'login' then occurred_at end) as last_at,
    count(case when kind = 'login' then 1 end) as sightings,
    count(case when kind = 'failure' then 1 end) as failures
from {{ ref('logins') }}
where user_key is not null
group by team, user_key

union all

select
    team,
    user_key,
    'studio_adoption' as log,
    min(occurred_at) as first_at,
    max(occurred_at) as last_at,
    count(*) as sightings,
    0 as failures
from {{ ref('int_studio_uses') }}
where user_key is not null
group by team, user_key
