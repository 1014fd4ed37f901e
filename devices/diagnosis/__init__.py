"""What is fine on a device and what is not: its inference libraries tried there, and what helps."""
