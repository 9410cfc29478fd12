-- title: Who holds powerful permissions, and on what
-- definition: Permissions with a powerful action, by who holds them and by what they are on.
select
    coalesce(object_type, 'unknown') as object_type,
    coalesce(lower(subject_type), 'unknown') as holder,
    count(*) as permissions
from permissions
where is_powerful
group by coalesce(object_type, 'unknown'), coalesce(lower(subject_type), 'unknown')
order by coalesce(object_type, 'unknown'), coalesce(lower(subject_type), 'unknown')
