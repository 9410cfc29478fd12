{{ ocsf_class(3001, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'user': ocsf_subject(),
    'src_endpoint': ocsf_source(),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'user.email_addr': (5, 'Email Address', ocsf_email('coalesce(subject_email, subject_name)')),
        'src_endpoint.ip': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}) }}
