select
    {{ as_of() }} as as_of,
    cast({{ local_time(as_of()) }} as date) as local_day,
    '{{ var("time_zone") }}' as time_zone,
    '{{ var("working_hours_start") }}' as working_hours_start,
    '{{ var("working_hours_end") }}' as working_hours_end,
    '{{ var("working_days") | join(", ") }}' as working_days,
    {{ var("dormant_days") }} as dormant_days,
    {{ var("burst_failures") }} as burst_failures
