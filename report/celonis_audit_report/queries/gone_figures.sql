-- title: The gone in figures
-- gone_with_access: People who are not in the team any more, but are named in permissions or did something after they were removed.
-- permissions_of_the_gone: Permissions that name them.
-- dormant_members: Members without a sign of life for the days after which somebody counts as dormant, or ever.
-- never_seen: Members who never gave a sign of life.
select
    (select count(*) from users where has_access_though_gone) as gone_with_access,
    (select count(*) from permissions where is_held_by_somebody_gone) as permissions_of_the_gone,
    (select count(*) from users where is_dormant) as dormant_members,
    (select count(*) from users where is_member and last_seen_at is null) as never_seen
