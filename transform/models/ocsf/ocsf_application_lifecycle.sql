{{ ocsf_class(6002, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'app': json_object({
        'name': "coalesce(object_name, object, 'Unknown')",
        'uid': 'object_id',
        'vendor_name': "'Unknown'",
    }),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'unmapped.ip_address': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}, profiles=ocsf_host_profile()) }}
