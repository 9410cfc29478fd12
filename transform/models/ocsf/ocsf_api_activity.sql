{{ ocsf_class(6003, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'api': json_object({
        'operation': "coalesce(event, 'Unknown')",
        'service': json_object({'name': "coalesce(area, 'Celonis')"}),
    }),
    'resources': "case when coalesce(object_id, object_name) is not null then " ~ json_array(json_without_nulls(json_object({
        'name': 'object_name',
        'uid': 'case when length(object_id) <= 64 then object_id end',
        'type': 'object',
    }), 'json')) ~ ' end',
    'src_endpoint': ocsf_source(is_required=true),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'src_endpoint.ip': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}) }}
