{#- Every event of every class as JSON: what is exported. -#}
{%- set classes = [
    ref('ocsf_account_change'),
    ref('ocsf_api_activity'),
    ref('ocsf_application_lifecycle'),
    ref('ocsf_authentication'),
    ref('ocsf_entity_management'),
    ref('ocsf_event_log_activity'),
    ref('ocsf_file_hosting_activity'),
    ref('ocsf_group_management'),
    ref('ocsf_user_access_management'),
] -%}
{%- for class in classes %}
select
    event_id,
    team,
    occurred_at,
    event,
    class_uid,
    class_name,
    activity_id,
    activity_name,
    severity_id,
    status_id,
    ocsf
from {{ class }}
{%- if not loop.last %}

union all
{%- endif %}
{%- endfor %}
