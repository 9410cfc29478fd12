-- title: Administrators
-- definition: Members with a role of an administrator, with the privileged actions that they did in the period. Last seen is the latest sign in any log or in the list of members.
select
    users.name,
    users.email,
    users.last_seen_at,
    users.days_since_seen,
    users.is_dormant as dormant,
    (
        select count(*)
        from privileged_actions
        where
            privileged_actions.user_key = users.user_key
            and occurred_at >= (select as_of - interval '{days} days' from report_window)
    ) as privileged_actions,
    users.permission_count as permissions,
    users.group_names as groups,
    users.team
from users
where users.is_admin
order by users.is_dormant desc, users.days_since_seen desc nulls first, users.email, users.user_key
limit 500
