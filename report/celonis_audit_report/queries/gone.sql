-- title: Gone, but still with access
-- definition: People who were in the team and are not any more, but are named in permissions or did something after they were removed.
select
    name,
    email,
    role as last_role,
    gone_since,
    last_seen_at,
    permission_count as permissions,
    team
from users
where has_access_though_gone
order by gone_since desc nulls last, email, user_key
limit 500
