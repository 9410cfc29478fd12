{#- What differs between databases with values of JSON. Reading a key is `(column ->> 'key')` on all. -#}

{%- macro json_type() -%}
    {{ return(adapter.dispatch('json_type')()) }}
{%- endmacro -%}

{%- macro postgres__json_type() -%} jsonb {%- endmacro -%}

{%- macro duckdb__json_type() -%} json {%- endmacro -%}
