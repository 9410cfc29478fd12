{{ ocsf_class(1008, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'log_name': 'object',
    'log_provider': "'Celonis'",
    'log_type': "'Application'",
    'log_type_id': '2',
    'src_endpoint': ocsf_source(),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'src_endpoint.ip': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}) }}
