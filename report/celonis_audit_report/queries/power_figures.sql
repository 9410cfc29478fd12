-- title: Power in figures
-- administrators: Members who are in the team now with a role of an administrator.
-- dormant_administrators: Administrators without a sign of life for the days after which somebody counts as dormant, or ever.
-- members: Everybody who is in the team now.
-- powerful_permissions: Permissions with an action that gives away rights, deletes, or takes data out; of people, groups and applications.
select
    (select count(*) from users where is_admin) as administrators,
    (select count(*) from users where is_admin and is_dormant) as dormant_administrators,
    (select count(*) from users where is_member) as members,
    (select count(*) from permissions where is_powerful) as powerful_permissions
