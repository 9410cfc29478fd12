with documented as (
    select * from {{ ref('event_catalog') }}
),

undocumented as (
    select * from {{ ref('int_event_types') }}
)

{%- set columns = [
    'event', 'area', 'object', 'action', 'outcome', 'risk', 'is_privileged', 'is_security_relevant',
] | join(', ') %}

select {{ columns }}, true as is_documented from documented
union all
select {{ columns }}, false as is_documented from undocumented
