{{ ocsf_class(3006, ref('int_ocsf__audit_logs'), {
    'actor': ocsf_actor(),
    'group': json_object({
        'name': "coalesce(group_name, object_name, 'Unknown')",
        'uid': 'group_id',
    }),
    'user': 'case when coalesce(subject_email, subject_name, subject_id) is not null then ' ~ ocsf_subject() ~ ' end',
    'privileges': "coalesce(privileges, cast('[]' as json))",
    'resource': ocsf_resource(),
    'src_endpoint': ocsf_source(),
    'observables': ocsf_observables({
        'actor.user.email_addr': (5, 'Email Address', ocsf_email('actor_email')),
        'user.email_addr': (5, 'Email Address', ocsf_email('coalesce(subject_email, subject_name)')),
        'src_endpoint.ip': (2, 'IP Address', ocsf_ip('ip_address')),
    }),
}, profiles=ocsf_host_profile()) }}
