{{ ocsf_class(6006, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'file': json_object({
        'name': "coalesce(object_name, object, 'Unknown')",
        'uid': 'object_id',
        'type_id': '1',
    }),
    'src_endpoint': ocsf_source(is_required=true),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'src_endpoint.ip': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}) }}
