-- title: Active users, by week
-- definition: People who logged in, and people who used an asset of Studio, in each of the last 52 complete weeks from Monday.
select week, 'Logged in' as people, sum(weekly_active_users) as users
from adoption_weekly
where is_complete and week >= (select cast(as_of - interval '371 days' as date) from report_window)
group by week
union all
select week, 'Used Studio' as people, sum(studio_users) as users
from adoption_weekly
where is_complete and week >= (select cast(as_of - interval '371 days' as date) from report_window)
group by week
order by week, people
