-- title: Earlier and smaller findings
-- definition: All other rows of the model findings: older than the period, or of low or medium severity. The newest 500.
select found_at, severity, kind, summary, team
from findings
where not (
    severity in ('high', 'critical')
    and (
        kind in ('dormant_admin', 'gone_with_access')
        or found_at >= (select as_of - interval '{days} days' from report_window)
    )
)
order by found_at desc nulls last, finding_id
limit 500
