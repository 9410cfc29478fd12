{#- What the models of OCSF share. An event is written as one JSON object of the attributes of its
    class, https://schema.ocsf.io. What Celonis does not tell is left out; what OCSF demands all the
    same is `Unknown`. -#}

{%- macro json_object(fields) -%}
    {{ return(adapter.dispatch('json_object')(fields)) }}
{%- endmacro -%}

{%- macro postgres__json_object(fields) -%}
json_build_object({% for name, value in fields.items() %}'{{ name }}', {{ value }}{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro -%}

{%- macro duckdb__json_object(fields) -%}
json_object({% for name, value in fields.items() %}'{{ name }}', {{ value }}{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro -%}

{%- macro json_array(value) -%}
    {{ return(adapter.dispatch('json_array')(value)) }}
{%- endmacro -%}

{%- macro postgres__json_array(value) -%} json_build_array({{ value }}) {%- endmacro -%}

{%- macro duckdb__json_array(value) -%} json_array({{ value }}) {%- endmacro -%}

{#- JSON without the fields that are null, nor those of objects within it; as text, unless said. -#}
{%- macro json_without_nulls(value, type='text') -%}
    {{ return(adapter.dispatch('json_without_nulls')(value, type)) }}
{%- endmacro -%}

{%- macro postgres__json_without_nulls(value, type) -%}
cast(json_strip_nulls({{ value }}) as {{ type }})
{%- endmacro -%}

{#- Merging into nothing takes nulls away, says RFC 7396. -#}
{%- macro duckdb__json_without_nulls(value, type) -%}
cast(json_merge_patch('{}', {{ value }}) as {{ type }})
{%- endmacro -%}

{#- A text as JSON, with its quotation marks. -#}
{%- macro json_string(value) -%}
cast(to_json(cast({{ value }} as text)) as text)
{%- endmacro -%}

{%- macro epoch_ms(moment) -%}
    {{ return(adapter.dispatch('epoch_ms')(moment)) }}
{%- endmacro -%}

{%- macro postgres__epoch_ms(moment) -%}
cast(floor(extract(epoch from {{ moment }}) * 1000) as bigint)
{%- endmacro -%}

{%- macro duckdb__epoch_ms(moment) -%}
epoch_ms({{ moment }})
{%- endmacro -%}

{%- macro iso_8601(moment) -%}
    {{ return(adapter.dispatch('iso_8601')(moment)) }}
{%- endmacro -%}

{%- macro postgres__iso_8601(moment) -%}
to_char({{ moment }}, 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
{%- endmacro -%}

{%- macro duckdb__iso_8601(moment) -%}
strftime({{ moment }}, '%Y-%m-%dT%H:%M:%S.%gZ')
{%- endmacro -%}

{#- Those texts of one JSON array that are not in another one, as a JSON array; null if that is none. -#}
{%- macro json_texts_without(texts, others) -%}
    {{ return(adapter.dispatch('json_texts_without')(texts, others)) }}
{%- endmacro -%}

{%- macro postgres__json_texts_without(texts, others) -%}
(
    select json_agg(text)
    from jsonb_array_elements_text(
        case when jsonb_typeof({{ texts }}) = 'array' then {{ texts }} else '[]' end
    ) as text
    where not jsonb_exists(coalesce({{ others }}, '[]'), text)
)
{%- endmacro -%}

{%- macro duckdb__json_texts_without(texts, others) -%}
nullif(
    to_json(
        list_filter(
            try_cast({{ texts }} as text[]),
            lambda text: not list_contains(coalesce(try_cast({{ others }} as text[]), []), text)
        )
    ),
    '[]'
)
{%- endmacro -%}

{#- An e-mail address where OCSF takes it for one: ASCII only. -#}
{%- macro ocsf_email(address) -%}
case when {{ address }} ~ '^[A-Za-z0-9!#$%&''*+/=?^_`{|}~.-]+@[A-Za-z0-9-]+[.][A-Za-z0-9.-]+$' then {{ address }} end
{%- endmacro -%}

{#- Which person or account, by what is known. People are called by their e-mail address in Celonis. -#}
{%- macro ocsf_user(email, name='null', uid='null', type_id='null') -%}
{%- set known_as = 'coalesce(' ~ [email, name, uid] | join(', ') ~ ')' -%}
{{ json_object({
    'name': 'coalesce(' ~ known_as ~ ", 'Unknown')",
    'uid': uid,
    'type_id': type_id,
    'full_name': 'case when ' ~ email ~ ' is not null then ' ~ name ~ ' end',
    'email_addr': ocsf_email(known_as),
}) }}
{%- endmacro -%}

{#- Who did what the audit log tells. -#}
{%- macro ocsf_actor() -%}
{{ json_object({'user': ocsf_user(
    'actor_email',
    name="case when actor_email is null and actor_id is null then left(user_id, 1000) end",
    uid='actor_id',
    type_id="case when actor_type = 'SYSTEM' then 3 when user_role = 'ADMIN' then 2 when actor_type = 'USER' then 1 else 0 end",
)}) }}
{%- endmacro -%}

{#- Whose account or rights it is about; who changes their own name or password is both. -#}
{%- macro ocsf_subject() -%}
{{ ocsf_user('subject_email', name='subject_name', uid='subject_id') }}
{%- endmacro -%}

{#- What a permission is about. -#}
{%- macro ocsf_resource() -%}
case when resource_name is not null then {{ json_object({'name': 'resource_name'}) }} end
{%- endmacro -%}

{#- Where from, if the team records IP addresses. A pseudonym of an address is a name. -#}
{%- macro ocsf_source(is_required=false) -%}
case
    when ip_address is not null then {{ json_object({
        'ip': ocsf_ip('ip_address'),
        'port': ocsf_port('port'),
        'name': 'case when ' ~ ocsf_ip('ip_address') ~ ' is null then left(ip_address, 1000) end',
    }) }}
    {%- if is_required %}
    else {{ json_object({'name': "'Unknown'"}) }}
    {%- endif %}
end
{%- endmacro -%}

{%- macro ocsf_ip(address) -%}
{%- set octet = '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])' -%}
{%- set group = '[0-9A-Fa-f]{1,4}' -%}
{%- set forms = ['(' ~ octet ~ '[.]){3}' ~ octet, '(' ~ group ~ ':){7}' ~ group, '(' ~ group ~ ':){1,7}:', ':(:' ~ group ~ '){1,7}', '::'] -%}
{%- for before in range(1, 7) -%}
    {%- do forms.append('(' ~ group ~ ':){1,' ~ before ~ '}(:' ~ group ~ '){1,' ~ (7 - before) ~ '}') -%}
{%- endfor -%}
case when {{ address }} ~ '^({{ forms | join('|') }})$' then {{ address }} end
{%- endmacro -%}

{%- macro ocsf_port(port) -%}
case
    when {{ port }} ~ '^[0-9]{1,5}$' then
        case when cast({{ port }} as integer) <= 65535 then cast({{ port }} as integer) end
end
{%- endmacro -%}

{#- Things that security tools look for in events of any class, with where they are. -#}
{%- macro ocsf_observables(values) -%}
cast(
    nullif('[' || concat_ws(','
    {%- for name, (type_id, type, value) in values.items() %},
        case when {{ value }} is not null then cast({{ json_object({
            'name': "'" ~ name ~ "'",
            'type_id': type_id,
            'type': "'" ~ type ~ "'",
            'value': value,
        }) }} as text) end
    {%- endfor %}
    ) || ']', '[]') as json
)
{%- endmacro -%}

{#- What OCSF has no place for, word for word; nulls within it stay. Texts are JSON already. -#}
{%- macro ocsf_unmapped(values) -%}
nullif('{' || concat_ws(','
{%- for name, value in values.items() %},
    '"{{ name }}":' || {{ value }}
{%- endfor %}
) || '}', '{}')
{%- endmacro -%}

{#- In the older versions of OCSF, some classes have an actor by this profile only. -#}
{%- macro ocsf_host_profile() -%}
{{ json_array("'host'") }}
{%- endmacro -%}

{#- Select the events of one class from a relation with what is common to all, and the attributes of
    this class: one column an attribute, and all of them as one JSON object in `ocsf`. -#}
{%- macro ocsf_class(class_uid, relation, attributes, profiles='null') -%}
{%- set common = {
    'class_uid': 'class_uid',
    'class_name': 'class_name',
    'category_uid': 'category_uid',
    'category_name': 'category_name',
    'activity_id': 'activity_id',
    'activity_name': 'activity_name',
    'type_uid': 'class_uid * 100 + activity_id',
    'type_name': "class_name || ': ' || activity_caption",
    'severity_id': 'severity_id',
    'severity': "case severity_id when 1 then 'Informational' when 2 then 'Low' when 3 then 'Medium'"
        ~ " when 4 then 'High' when 5 then 'Critical' else 'Unknown' end",
    'status_id': 'status_id',
    'status': "case status_id when 1 then 'Success' when 2 then 'Failure' else 'Unknown' end",
    'time': epoch_ms('occurred_at'),
    'message': "left(event || coalesce(': ' || about, ''), 1000)",
    'metadata': json_object({
        'version': "'" ~ var('ocsf_version') ~ "'",
        'profiles': profiles,
        'product': json_object({
            'name': "'Celonis Platform'",
            'vendor_name': "'Celonis'",
            'feature': json_object({'name': 'log_name'}),
        }),
        'uid': 'event_id',
        'event_code': 'event',
        'log_name': 'log_name',
        'log_provider': "'tap-celonis-audit'",
        'original_time': iso_8601('occurred_at'),
        'tenant_uid': 'team',
    }),
} -%}
{%- set attributes = dict(common, **attributes) -%}
{%- set fields = {} -%}
{%- for name in attributes -%}
    {%- do fields.update({name: adapter.quote(name)}) -%}
{%- endfor %}
with attributes as (
    select
        event_id,
        team,
        occurred_at,
        event
        {%- for name, value in attributes.items() %},
        {{ value }} as {{ adapter.quote(name) }}
        {%- endfor %},
        unmapped
    from {{ relation }}
    where class_uid = {{ class_uid }}
)

select
    *,
    left({{ json_without_nulls(json_object(fields)) }}, -1)
    || coalesce(',"unmapped":' || unmapped, '') || '}' as ocsf
from attributes
{%- endmacro -%}
