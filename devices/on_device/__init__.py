"""What runs on the device itself. All but check and service need nothing but Python there."""
