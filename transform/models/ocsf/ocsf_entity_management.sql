{{ ocsf_class(3004, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'entity': json_object({
        'name': "coalesce(object_name, object, 'Unknown')",
        'uid': 'object_id',
        'type': 'object',
        'type_id': '99',
    }),
    'src_endpoint': ocsf_source(),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'src_endpoint.ip': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}, profiles=ocsf_host_profile()) }}
