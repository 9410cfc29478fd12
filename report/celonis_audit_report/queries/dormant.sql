-- title: Members who are not seen any more
-- definition: Members without a sign of life in any log or in the list of members for the days after which somebody counts as dormant, or ever. The first 500, administrators first.
select
    name,
    email,
    role,
    status,
    last_seen_at,
    days_since_seen,
    permission_count as permissions,
    group_names as groups,
    team
from users
where is_dormant
order by is_admin desc, days_since_seen desc nulls first, email, user_key
limit 500
