{#- What differs between databases where JSON is read. One key is `(column ->> 'key')` on all. -#}

{#- Name of the type. -#}
{%- macro json_type() -%}
    {{ return(adapter.dispatch('json_type')()) }}
{%- endmacro -%}

{%- macro postgres__json_type() -%} jsonb {%- endmacro -%}

{%- macro duckdb__json_type() -%} json {%- endmacro -%}

{#- The text under the first of several keys that there is: Celonis spells them differently from
    service to service. -#}
{%- macro json_text(column, keys) -%}
    {{ return(adapter.dispatch('json_text')(column, keys)) }}
{%- endmacro -%}

{%- macro postgres__json_text(column, keys) -%}
    coalesce(
        {%- for key in keys %}
        {{ column }} ->> '{{ key }}'{{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro -%}

{#- One look for all keys: each look parses the text anew. -#}
{%- macro duckdb__json_text(column, keys) -%}
    list_filter(
        {{ column }} ->> ['{{ keys | join("', '") }}'],
        lambda found: found is not null
    )[1]
{%- endmacro -%}

{#- The elements of an array as texts, one row each; anything else is taken as its only element. For
    the list of columns of a SELECT. -#}
{%- macro json_items(value) -%}
    {{ return(adapter.dispatch('json_items')(value)) }}
{%- endmacro -%}

{%- macro postgres__json_items(value) -%}
    jsonb_array_elements_text(
        case when jsonb_typeof({{ value }}) = 'array' then {{ value }} else jsonb_build_array({{ value }}) end
    )
{%- endmacro -%}

{%- macro duckdb__json_items(value) -%}
    unnest(
        case
            when json_type({{ value }}) = 'ARRAY' then {{ value }} ->> '$[*]'
            else [{{ value }} ->> '$']
        end
    )
{%- endmacro -%}

{#- The elements of an array as JSON, one row each. For the list of columns of a SELECT. -#}
{%- macro json_elements(value) -%}
    {{ return(adapter.dispatch('json_elements')(value)) }}
{%- endmacro -%}

{%- macro postgres__json_elements(value) -%} jsonb_array_elements({{ value }}) {%- endmacro -%}

{%- macro duckdb__json_elements(value) -%} unnest({{ value }} -> '$[*]') {%- endmacro -%}
