{#- The rows of a loaded table, each once, with the columns and types that its source declares: the
    same on every database. A table or column that is not there, since a stream is not selected or
    not permitted, gives no rows or NULL.

    Two columns are added: `loaded_at`, when the target wrote the row, if it says; and `is_current`,
    whether the row was in its team's latest copy, for tables that each run copies whole. -#}
{%- macro loaded_rows(table, key, is_copied_whole=false) -%}
    {%- do source('celonis', table) -%}
    {%- set columns = [] -%}
    {%- if execute -%}
        {%- set sources = graph.sources.values() -%}
        {%- for node in sources if node.source_name == 'celonis' and node.name == table -%}
            {%- do columns.extend(node.columns.values()) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(adapter.dispatch('loaded_rows')(table, columns, key, is_copied_whole)) }}
{%- endmacro -%}

{%- macro postgres__loaded_rows(table, columns, key, is_copied_whole) -%}
    {%- set relation = load_relation(source('celonis', table)) -%}
    {%- set present = [] -%}
    {%- if relation -%}
        {%- set present = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
    {%- endif -%}
    select
    {%- for column in columns %}
        {%- if column.name not in present %}
        cast(null as {{ json_type() if column.data_type == 'json' else column.data_type }})
        {%- elif column.data_type == 'json' %}
        nullif(to_jsonb({{ adapter.quote(column.name) }}), 'null')
        {%- else %}
        cast({{ adapter.quote(column.name) }} as {{ column.data_type }})
        {%- endif %} as {{ adapter.quote(column.name) }},
    {%- endfor %}
    {%- set signs = [] -%}
    {%- if '_sdc_deleted_at' in present -%}
        {%- do signs.append('_sdc_deleted_at is null') -%}
    {%- endif -%}
    {%- if is_copied_whole and '_sdc_sync_started_at' in present -%}
        {%- do signs.append('_sdc_sync_started_at = max(_sdc_sync_started_at) over (partition by team)') -%}
    {%- endif %}
        cast({{ '_sdc_batched_at' if '_sdc_batched_at' in present else 'null' }} as timestamp) as loaded_at,
        {{ signs | join(' and ') or 'true' }} as is_current
    {%- if relation %}
    from {{ relation }}
    {%- else %}
    where false
    {%- endif %}
{%- endmacro -%}

{#- The files of a target that appends: of the rows with one key, the last one counts. A run writes
    each key once, so a team's latest run begins behind the last row whose key comes again, and not
    before its last file. DuckDB keeps the order of rows, and numbers them accordingly. -#}
{%- macro duckdb__loaded_rows(table, columns, key, is_copied_whole) -%}
    {%- set pattern = (env_var('CELONIS_FILES', '') or '../output') ~ '/' ~ table ~ '[.-]*jsonl' -%}
    {%- set files = run_query("select * from glob('" ~ pattern ~ "')") if execute else [] -%}
    {%- if not files | length %}
    select
    {%- for column in columns %}
        cast(null as {{ column.data_type }}) as "{{ column.name }}",
    {%- endfor %}
        cast(null as timestamp) as loaded_at,
        true as is_current
    where false
    {%- else %}
    {%- set files %}
    read_json(
            '{{ pattern }}',
            format = 'newline_delimited',
            filename = true,
            columns = {
    {%- for column in columns %}
                "{{ column.name }}": '{{ column.data_type }}'{{ ',' if not loop.last }}
    {%- endfor %}
            }
        )
    {%- endset %}
    {%- if is_copied_whole %}
    with numbered as (
        select *, row_number() over () as position
        from {{ files }}
    ),

    -- A file without a time in its name is older than those with one.
    ordered as (
        select
            *,
            row_number() over (by_age) as place,
            dense_rank() over (order by filename not like '%/{{ table }}.jsonl', filename) as file
        from numbered
        window by_age as (
            order by filename not like '%/{{ table }}.jsonl', filename, position
        )
    ),

    followed as (
        select
            *,
            lead(place) over (partition by {{ key | join(', ') }} order by place) as next_place
        from ordered
    ),

    bounded as (
        select
            *,
            max(file) over (partition by team) as last_file,
            max(case when next_place is not null then place end) over (partition by team)
                as last_repeated_place
        from followed
    )

    select
    {%- for column in columns %}
        "{{ column.name }}",
    {%- endfor %}
        cast(null as timestamp) as loaded_at,
        file = last_file and place > coalesce(last_repeated_place, 0) as is_current
    from bounded
    where next_place is null
    {%- else %}
    select distinct on ({{ key | join(', ') }})
    {%- for column in columns %}
        "{{ column.name }}",
    {%- endfor %}
        cast(null as timestamp) as loaded_at,
        true as is_current
    from {{ files }}
    {%- endif %}
    {%- endif %}
{%- endmacro -%}
