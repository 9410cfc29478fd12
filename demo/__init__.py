"""What a newcomer sees first: the tap, Meltano and PostgreSQL on a made-up Celonis team."""
