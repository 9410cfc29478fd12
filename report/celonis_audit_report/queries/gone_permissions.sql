-- title: What they may still do
-- definition: Permissions of people who are not in the team any more. The first 500.
select
    subject_name as person,
    service,
    lower(object_type) as kind,
    object_name as on_what,
    actions,
    is_powerful as powerful,
    team
from permissions
where is_held_by_somebody_gone
order by subject_name, object_name, permission_id
limit 500
