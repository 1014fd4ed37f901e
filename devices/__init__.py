"""What is known of devices, and getting software onto them."""
