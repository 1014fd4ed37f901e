"""What is put on a device: layers of content, their wheels, the unit of the service, signatures."""
