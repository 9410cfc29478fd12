-- title: Who holds powerful permissions, and on what
-- definition: Permissions with a powerful action, by who holds them and by what they are on.
select object_type, lower(subject_type) as holder, count(*) as permissions
from permissions
where is_powerful
group by object_type, subject_type
order by object_type, subject_type
