{{ config(materialized='view') }}

{{ actions_where('is_privileged') }}
