"""Finding an int8 form within its budget: options, operators given back to float, tracking compared."""
