{#- The time that counts as now: the same in a whole run. -#}
{%- macro as_of() -%}
    cast('{{ var("as_of") or run_started_at.strftime("%Y-%m-%d %H:%M:%S") }}' as timestamp)
{%- endmacro -%}

{#- A time in UTC, as the clock of the team shows it. -#}
{%- macro local_time(column) -%}
    ({{ column }} at time zone 'UTC' at time zone '{{ var("time_zone") }}')
{%- endmacro -%}

{#- Whether a local time is outside working hours. -#}
{%- macro is_outside_working_hours(column) -%}
    {%- set minutes = [] -%}
    {%- for name in ['working_hours_start', 'working_hours_end'] -%}
        {%- set parts = (var(name) | string).split(':') -%}
        {%- do minutes.append(parts[0] | int * 60 + (parts[1] | int if parts | length > 1 else 0)) -%}
    {%- endfor -%}
    {%- if not 0 <= minutes[0] < minutes[1] <= 1440 -%}
        {{ exceptions.raise_compiler_error(
            'working_hours_start must be a time of the day before working_hours_end, such as 07:00'
            ' and 19:00; at most 24:00. They are ' ~ var('working_hours_start') ~ ' and '
            ~ var('working_hours_end') ~ '.'
        ) }}
    {%- endif -%}
    not (
        extract(isodow from {{ column }}) in ({{ var('working_days') | join(', ') }})
        and extract(hour from {{ column }}) * 60 + extract(minute from {{ column }}) >= {{ minutes[0] }}
        and extract(hour from {{ column }}) * 60 + extract(minute from {{ column }}) < {{ minutes[1] }}
    )
{%- endmacro -%}

{#- Every day from one to another, one row each. For the list of columns of a SELECT. -#}
{%- macro each_day(first, last) -%}
    {{ return(adapter.dispatch('each_day')(first, last)) }}
{%- endmacro -%}

{%- macro postgres__each_day(first, last) -%}
    cast(generate_series({{ first }}, {{ last }}, interval '1 day') as date)
{%- endmacro -%}

{%- macro duckdb__each_day(first, last) -%}
    cast(unnest(generate_series({{ first }}, {{ last }}, interval '1 day')) as date)
{%- endmacro -%}

{#- Seconds from one time to another, with their fraction. -#}
{%- macro seconds_between(first, last) -%}
    cast(extract(epoch from {{ last }}) - extract(epoch from {{ first }}) as double precision)
{%- endmacro -%}
