-- title: Who holds the most powerful permissions
-- definition: People, groups and applications by the number of their powerful permissions, granted to them directly. The first 200.
select
    subject_name as holder,
    lower(subject_type) as kind,
    count(*) as powerful_permissions,
    max(case when is_held_by_somebody_gone then 1 else 0 end) = 1 as gone,
    team
from permissions
where is_powerful
group by team, subject_id, subject_name, subject_type
order by count(*) desc, subject_name, team, subject_id, subject_type
limit 200
