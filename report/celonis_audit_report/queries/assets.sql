-- title: What is used in Studio
-- definition: Assets of Studio by how many people used them, since the first loaded event. The first 100.
select asset_name as asset, asset_type as kind, package_name as package, users, uses, last_used_at, team
from adoption_assets
order by users desc, uses desc, asset_name, asset_key
limit 100
