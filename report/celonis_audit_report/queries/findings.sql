-- title: Findings
-- definition: Rows of the model findings with severity high or critical that happened in the period, and all that is still so: administrators who are not seen any more, and people who are gone but still have access.
select finding_id, team, kind, severity, found_at, email, subject, summary
from findings
where
    severity in ('high', 'critical')
    and (
        kind in ('dormant_admin', 'gone_with_access')
        or found_at >= (select as_of - interval '{days} days' from report_window)
    )
order by
    case severity when 'critical' then 0 else 1 end,
    found_at desc nulls last,
    finding_id
