-- title: What this report is about
-- definition: When the models were built, and how they were told to count.
select as_of, time_zone, working_hours_start, working_hours_end, working_days, dormant_days, burst_failures
from report_window
