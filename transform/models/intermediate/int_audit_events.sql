{#- What is read from the messages, once for each event. New ones are known by their id, not by their
    time: events that arrive late are not missed. What is not loaded any more goes, as after a new
    copy with pseudonyms. What can change, such as the classification, is added by audit_events. -#}
{{ config(
    materialized='incremental',
    incremental_strategy='append',
    pre_hook="
        {%- if is_incremental() %}
        delete from {{ this }} as known
        where not exists (
            select 1 from {{ ref('stg_celonis__audit_logs') }} as loaded
            where loaded.event_id = known.event_id
        )
        {%- endif %}
    ",
) }}

with audit_logs as (
    select * from {{ ref('stg_celonis__audit_logs') }}
)

select
    event_id,
    team,
    "timestamp" as occurred_at,
    event,
    coalesce(actor_type, 'UNKNOWN') as actor_type,
    actor_id,
    lower(coalesce(actor_email, case when actor_type = 'SYSTEM' then null else user_id end)) as actor_email,
    user_role as actor_role,
    ip_address,
    {{ json_text('message', [
        'nodeId', 'Analysis Id', 'analysisId', 'viewId', 'data-job-id', 'data_job_id', 'dataJobId',
        'data-model-id', 'data_model_id', 'dataModelId', 'data-pool-id', 'data_pool_id', 'dataPoolId',
        'actionFlowId', 'group_id', 'groupId', 'projectId', 'object_id', 'objectId', 'id',
    ]) }} as object_id,
    {{ json_text('message', [
        'nodeName', 'analysis_name', 'analysisName', 'viewName', 'data-job-name', 'data_job_name',
        'dataJobName', 'data-model-name', 'data_model_name', 'dataModelName', 'data-pool-name',
        'data_pool_name', 'dataPoolName', 'actionFlowName', 'group_name', 'groupName', 'projectName',
        'packageName', 'object_description', 'objectDescription', 'variableKey', 'name',
    ]) }} as object_name
from audit_logs
{%- if is_incremental() %}
where not exists (
    select 1 from {{ this }} as known where known.event_id = audit_logs.event_id
)
{%- endif %}
