-- title: The unusual in figures
-- privileged_actions: What people did in the period that takes or grants the power of an administrator.
-- privileged_outside_working_hours: Those of them that were done outside working hours.
-- addresses_never_seen_before: IP addresses of actions in the period that no earlier action came from.
-- events_celonis_does_not_document: Different events in the period that are not in the documentation of Celonis.
select
    (
        select count(*)
        from privileged_actions
        where occurred_at >= (select as_of - interval '{days} days' from report_window)
    ) as privileged_actions,
    (
        select count(*)
        from privileged_actions
        where
            is_outside_working_hours
            and occurred_at >= (select as_of - interval '{days} days' from report_window)
    ) as privileged_outside_working_hours,
    (
        select count(*)
        from (
            select ip_address
            from audit_events
            where ip_address is not null
            group by ip_address
            having min(occurred_at) >= (select as_of - interval '{days} days' from report_window)
        ) as addresses
    ) as addresses_never_seen_before,
    (
        select count(distinct event)
        from audit_events
        where
            not is_documented
            and occurred_at >= (select as_of - interval '{days} days' from report_window)
    ) as events_celonis_does_not_document
