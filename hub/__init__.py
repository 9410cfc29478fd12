"""What goes into Meltano Hub."""
