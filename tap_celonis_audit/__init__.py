"""Singer tap for the audit log and login history of a Celonis team."""
