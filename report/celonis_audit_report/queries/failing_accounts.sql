-- title: Accounts with the most failures
-- definition: Failed attempts in the period by account and team; unknown accounts belong to nobody in the team. The first 100.
select
    email as account,
    count(case when kind = 'failure' then 1 end) as failures,
    count(case when kind = 'login' then 1 end) as logins,
    max(user_key) is null as unknown_account,
    max(case when kind = 'failure' then occurred_at end) as last_failure,
    team
from logins
where occurred_at >= (select as_of - interval '{days} days' from report_window)
group by team, email
having count(case when kind = 'failure' then 1 end) > 0
order by count(case when kind = 'failure' then 1 end) desc, email, team
limit 100
