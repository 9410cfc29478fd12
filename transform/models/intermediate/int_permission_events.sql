{#- What the audit log says of each change of rights: whom it concerns, and what was there before and
    after. -#}
{{ config(materialized='table') }}

with audit_logs as (
    select * from {{ ref('stg_celonis__audit_logs') }}
),

permission_events as (
    select * from {{ ref('permission_events') }}
)

select
    audit_logs.event_id,
    permission_events.kind,
    permission_events.direction,
    coalesce(
        permission_events.subject_type,
        upper({{ json_text('audit_logs.message', ['subject_type', 'subjectType']) }})
    ) as subject_type,
    lower({{ json_text('audit_logs.message', [
        'memberEmail', 'member_email', 'user_email', 'userEmail', 'email', 'invitedEmail',
    ]) }}) as subject_email,
    {{ json_text('audit_logs.message', ['memberId', 'member_id', 'subject_id', 'subjectId']) }}
        as subject_id,
    {{ json_text('audit_logs.message', [
        'subject_description', 'subjectDescription', 'memberName', 'userName', 'name', 'teamName',
    ]) }} as subject_name,
    coalesce(
        audit_logs.message -> 'old_permissions', audit_logs.message -> 'oldPermissions'
    ) as old_permissions,
    coalesce(
        audit_logs.message -> 'new_permissions',
        audit_logs.message -> 'newPermissions',
        case when permission_events.direction <> 'revoked' then audit_logs.message -> 'scopes' end
    ) as new_permissions,
    audit_logs.diff_payload ->> 'oldValue' as old_value,
    coalesce(
        audit_logs.diff_payload ->> 'newValue',
        {{ json_text('audit_logs.message', ['userRole', 'user_role', 'newRole', 'role']) }}
    ) as new_value
from audit_logs
inner join permission_events on audit_logs.event = permission_events.event
