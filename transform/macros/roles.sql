{#- Whether a role makes its holder an administrator. -#}
{%- macro is_admin_role(column) -%}
    coalesce(upper({{ column }}) in (
        {%- for role in var('admin_roles') -%}
            '{{ role | upper }}'{{ ', ' if not loop.last }}
        {%- endfor -%}
    ), false)
{%- endmacro -%}
