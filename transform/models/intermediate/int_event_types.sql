{#- Events that nobody documented, classified by the words in their names. -#}

with undocumented as (
    select distinct event, upper(replace(event, ' ', '_')) as name
    from {{ ref('int_audit_events') }}
    where event not in (select event from {{ ref('event_catalog') }})
),

described as (
    select
        event,
        name,
        case
            when name like 'OCDM%' then 'Object-centric data model'
            when name like 'TASK_MINING%' then 'Task Mining'
            when name like 'TEAM_TO_TEAM%' then 'Team To Team Copy'
            when name like 'ACTIONFLOW%' or name like 'ACTION_FLOW%' then 'Action Flows'
            when name like 'STUDIO%' or name like 'PACKAGE%' or name like 'VIEW_%' then 'Studio'
            when name like 'ML_%' then 'Machine Learning'
            when name like 'DATA_%' or name like 'JOB_%' or name like 'SCHEDUL%'
                or name like 'EXTRACTION%' or name like 'TRANSFORMATION%' then 'Data Integration'
            when name like 'USER%' or name like 'TEAM%' or name like 'GROUP%' or name like 'PERMISSION%'
                or name like 'APPLICATION%' or name like 'OAUTH%' or name like 'SSO%' or name like 'LLM%'
                or name like 'AUDIT%' or name like 'LOGIN%' or name like 'IP_%' or name like 'ADMIN%'
                then 'Admin and Settings'
            else 'Unknown'
        end as area,
        case
            when name like '%DELETE%' or name like '%REMOVE%' or name like '%TRASH%' then 'delete'
            when name like '%EXPORT%' or name like '%DOWNLOAD%' then 'export'
            when name like '%IMPORT%' or name like '%UPLOAD%' then 'import'
            when name like '%REVOKE%' then 'revoke'
            when name like '%GRANT%' or name like '%ASSIGN%' then 'grant'
            when name like '%INVITE%' then 'invite'
            when name like '%DISABLE%' or name like '%DEACTIVAT%' then 'disable'
            when name like '%ENABLE%' or name like '%ACTIVAT%' then 'enable'
            when name like '%PUBLISH%' or name like '%DEPLOY%' then 'publish'
            when name like '%CREATE%' or name like '%GENERATE%' or name like '%ADDED' then 'create'
            when name like '%RENAME%' then 'rename'
            when name like '%EXECUT%' or name like '%TRIGGER%' or name like '%START%'
                or name like '%FINISH%' or name like '%RUN%' then 'execute'
            when name like '%UPDATE%' or name like '%CHANGE%' or name like '%MODIF%'
                or name like '%EDIT%' or name like '%SET' then 'update'
            else 'other'
        end as action,
        name like '%PERMISSION%' or name like '%ROLE%' or name like '%ADMIN%' or name like '%MEMBERSHIP%'
            or name like '%API_KEY%' or name like '%APPLICATION_KEY%' or name like '%SECRET%'
            or name like '%TOKEN%' or name like '%CREDENTIAL%' or name like '%PASSWORD%'
            or name like '%OAUTH%' or name like '%SSO%' or name like '%SCIM%' or name like '%TWO_FACTOR%'
            or name like '%IP_RESTRICTION%' or name like '%SHARE%' as touches_access,
        name like '%AUDIT_LOG%' or name like '%LOGIN_HISTORY%' or name like '%RETENTION%'
            as touches_logs
    from undocumented
)

select
    event,
    area,
    'unknown' as object,
    action,
    case
        when name like '%FAIL%' or name like '%ERROR%' or name like '%DENIED%' or name like '%REJECT%'
            then 'failure'
        else 'success'
    end as outcome,
    case
        when touches_logs and action = 'delete' then 'critical'
        when touches_logs or touches_access then 'high'
        when action in ('delete', 'export', 'publish') then 'medium'
        else 'low'
    end as risk,
    touches_logs or touches_access as is_privileged,
    touches_logs or touches_access or action = 'export' as is_security_relevant
from described
