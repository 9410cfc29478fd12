-- title: Bursts of failed logins
-- definition: At least as many failures of one account in a row as the models were told, with short pauses. A login during the burst or soon afterwards means that the password may have been guessed. The newest 200 of all time.
select
    started_at,
    email as account,
    failures,
    duration_seconds,
    reasons,
    is_locked_out as locked_out,
    is_followed_by_success as then_logged_in,
    success_at,
    is_outside_working_hours as off_hours,
    team
from failed_login_bursts
order by started_at desc, burst_id
limit 200
