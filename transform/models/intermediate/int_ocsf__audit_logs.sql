{#- The audit log in the words of OCSF: the class and activity of each event, and who did what to whom.
    Undocumented events have the class of general activities. -#}
{{ config(materialized='ephemeral') }}

{%- set old_permissions = "coalesce(message -> 'old_permissions', message -> 'oldPermissions')" -%}
{%- set new_permissions = "coalesce(message -> 'new_permissions', message -> 'newPermissions')" %}

with audit_logs as (
    select * from {{ ref('stg_celonis__audit_logs') }}
),

read_events as (
    select * from {{ ref('int_audit_events') }}
),

event_types as (
    select * from {{ ref('event_types') }}
),

classes as (
    select * from {{ ref('ocsf_audit_events') }}
),

activities as (
    select * from {{ ref('ocsf_activities') }}
),

-- As risky as among the changes of permissions: whoever makes an administrator may do all.
admin_grants as (
    select event_id from {{ ref('permission_changes') }}
    where is_admin_grant
),

documented as (
    select
        audit_logs.event_id,
        audit_logs.team,
        audit_logs."timestamp" as occurred_at,
        audit_logs.event,
        audit_logs.user_id,
        audit_logs.actor_id,
        audit_logs.actor_email,
        audit_logs.actor_type,
        audit_logs.user_role,
        audit_logs.ip_address,
        audit_logs.port,
        audit_logs.message,
        audit_logs.diff_payload,
        audit_logs.additional_fields,
        event_types.area,
        event_types.object,
        event_types.action,
        event_types.outcome,
        case when admin_grants.event_id is not null then 'critical' else event_types.risk end as risk,
        read_events.object_id,
        left(read_events.object_name, 1000) as object_name,
        classes.class_uid,
        classes.activity_id,
        classes.activity_name
    from audit_logs
    inner join read_events on audit_logs.event_id = read_events.event_id
    left join event_types on audit_logs.event = event_types.event
    left join classes on audit_logs.event = classes.event
    left join admin_grants on audit_logs.event_id = admin_grants.event_id
),

-- Two events say by their content what they are: a permission is given to a user or to a group, and
-- a membership can change by its role, which is what a user may do.
told as (
    select
        *,
        left({{ json_text('message', [
            'memberEmail', 'member_email', 'user_email', 'userEmail', 'email', 'invitedEmail',
        ]) }}, 1000) as subject_email,
        left({{ json_text('message', ['memberId', 'member_id', 'subject_id', 'subjectId']) }}, 1000) as subject_id,
        left({{ json_text('message', [
            'memberName', 'userName', 'newName', 'subject_description', 'subjectDescription',
        ]) }}, 1000) as subject_name,
        left({{ json_text('message', ['group_name', 'groupName']) }}, 1000) as group_name,
        left({{ json_text('message', ['group_id', 'groupId']) }}, 1000) as group_id,
        event in ('USER_CHANGE_PASSWORD', 'USER_NAME_UPDATED') as is_about_actor,
        coalesce(
            event = 'PERMISSIONS_UPDATE'
            and upper({{ json_text('message', ['subject_type', 'subjectType']) }}) = 'GROUP',
            false
        ) as is_about_group,
        case
            when event = 'PERMISSIONS_UPDATE'
                then {{ json_texts_without(new_permissions, old_permissions) }}
            when event = 'TEAM_MEMBERSHIP_UPDATED' and (diff_payload ->> 'newValue') in ('ADMIN', 'ANALYST', 'MEMBER')
                then {{ json_array("(diff_payload ->> 'newValue')") }}
        end as granted,
        case
            when event = 'PERMISSIONS_UPDATE'
                then {{ json_texts_without(old_permissions, new_permissions) }}
        end as revoked
    from documented
),

decided as (
    select
        event_id,
        team,
        occurred_at,
        event,
        user_id,
        actor_id,
        actor_email,
        actor_type,
        user_role,
        ip_address,
        port,
        message,
        diff_payload,
        additional_fields,
        area,
        object,
        object_id,
        object_name,
        group_id,
        case when is_about_group then subject_name else group_name end as group_name,
        case when is_about_actor then actor_email else subject_email end as subject_email,
        case when is_about_actor then actor_id else subject_id end as subject_id,
        case when not is_about_group then subject_name end as subject_name,
        case when event = 'PERMISSIONS_UPDATE' then object_name end as resource_name,
        coalesce(granted, revoked) as privileges,
        case
            when class_uid is null then 6003
            when is_about_group then 3006
            when granted is not null then 3005
            else class_uid
        end as class_uid,
        case
            when granted is not null then 1
            when revoked is not null then 2
            when activity_id is not null then activity_id
            when action in ('create', 'copy') then 1
            when action = 'export' then 2
            when action = 'update' then 3
            when action = 'delete' then 4
            else 99
        end as activity_id,
        coalesce(activity_name, event) as other_activity_name,
        case risk
            when 'low' then 1
            when 'medium' then 2
            when 'high' then 3
            when 'critical' then 4
            else 0
        end as severity_id,
        case outcome when 'success' then 1 when 'failure' then 2 else 0 end as status_id
    from told
)

select
    decided.*,
    'audit_logs' as log_name,
    activities.class_name,
    activities.category_uid,
    activities.category_name,
    activities.activity_name as activity_caption,
    case
        when decided.activity_id = 99 then decided.other_activity_name
        else activities.activity_name
    end as activity_name,
    coalesce(object_name, subject_email, subject_name, group_name) as about,
    -- The class of installations has no place for where from.
    {{ ocsf_unmapped({
        'user_role': json_string('user_role'),
        'ip_address': json_string('case when decided.class_uid = 6002 then ip_address end'),
        'port': json_string(
            'case when decided.class_uid = 6002 or ip_address is null or ' ~ ocsf_port('port') ~ ' is null then port end'
        ),
        'message': 'cast(message as text)',
        'diff_payload': 'cast(diff_payload as text)',
        'additional_fields': 'cast(additional_fields as text)',
    }) }} as unmapped
from decided
inner join activities
    on decided.class_uid * 100 + decided.activity_id = activities.class_uid * 100 + activities.activity_id
