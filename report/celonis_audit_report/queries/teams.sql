-- title: Teams
-- definition: The Celonis teams whose logs are loaded.
select distinct team
from log_health
order by team
