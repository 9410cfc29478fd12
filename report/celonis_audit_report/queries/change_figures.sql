-- title: Changes in figures
-- changes_of_access: Changes in the period of permissions, groups, roles, membership, credentials and sharing.
-- new_administrators: Changes in the period by which somebody became an administrator.
-- new_credentials: Application keys, API keys and OAuth clients that were created in the period.
-- outside_working_hours: Changes of access in the period that were made outside working hours.
select
    count(*) as changes_of_access,
    count(case when is_admin_grant then 1 end) as new_administrators,
    count(case when kind = 'credential' and direction = 'granted' then 1 end) as new_credentials,
    count(case when is_outside_working_hours then 1 end) as outside_working_hours
from permission_changes
where occurred_at >= (select as_of - interval '{days} days' from report_window)
