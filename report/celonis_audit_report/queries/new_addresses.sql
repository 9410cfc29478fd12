-- title: Addresses never seen before
-- definition: People and the IP addresses that they acted from in their team in the period for the first time, as far as the log goes back. The first 200, privileged actions first.
select
    actor_email as person,
    ip_address,
    min(occurred_at) as first_action,
    count(*) as actions,
    count(case when is_privileged then 1 end) as privileged_actions,
    team
from audit_events
where ip_address is not null and actor_email is not null
group by team, actor_email, ip_address
having min(occurred_at) >= (select as_of - interval '{days} days' from report_window)
order by count(case when is_privileged then 1 end) desc, count(*) desc, actor_email, ip_address, team
limit 200
