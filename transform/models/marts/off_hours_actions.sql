{{ config(materialized='view') }}

{{ actions_where('is_outside_working_hours') }}
