-- title: Logins in figures
-- logins: Successful logins in the period.
-- people: People who logged in at least once in the period, by e-mail address.
-- failed_attempts: Attempts in the period that failed, of accounts of the team and of others.
-- bursts: Bursts of failed logins that began in the period.
select
    count(case when kind = 'login' then 1 end) as logins,
    count(distinct case when kind = 'login' then email end) as people,
    count(case when kind = 'failure' then 1 end) as failed_attempts,
    (
        select count(*)
        from failed_login_bursts
        where started_at >= (select as_of - interval '{days} days' from report_window)
    ) as bursts
from logins
where occurred_at >= (select as_of - interval '{days} days' from report_window)
