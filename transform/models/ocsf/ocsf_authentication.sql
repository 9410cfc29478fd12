{{ ocsf_class(3002, ref('int_ocsf__login_history'), {
    'status_code': 'event',
    'status_detail': "case when status_id = 2 then replace(failure_reason, '_', ' ') end",
    'user': ocsf_user('email'),
    'service': json_object({'name': "'Celonis Platform'", 'uid': 'team'}),
    'auth_protocol_id': "case method when 'oidc' then 4 when 'sso' then 99 when 'celonis_id' then 99 end",
    'auth_protocol': "case method when 'oidc' then 'OpenID' when 'sso' then 'SSO' when 'celonis_id' then 'Celonis ID' end",
    'is_mfa': "case when failure_reason = 'invalid_second_factor' then true end",
    'observables': ocsf_observables({
        'user.email_addr': (5, 'Email Address', ocsf_email('email')),
    }),
}) }}
