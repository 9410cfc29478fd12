-- title: Changes of access, by week
-- definition: Changes of permissions, groups, roles, membership, credentials and sharing in the last 26 weeks. A change counts as changed if it both granted and revoked, or if that cannot be told.
select cast(date_trunc('week', occurred_at) as date) as week, direction, count(*) as changes
from permission_changes
where
    occurred_at >= (select date_trunc('week', as_of) - interval '182 days' from report_window)
    and direction <> 'none'
group by cast(date_trunc('week', occurred_at) as date), direction
order by week, direction
