"""Getting a release onto devices: which fits, what must hold before, one device or many, a card or a tar file."""
