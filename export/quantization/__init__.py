"""Making a network's numbers int8: recipes, preparation in PyTorch, and each library's quantizer."""
