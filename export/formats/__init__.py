"""The model formats: a pair of graphs into files of one, and those opened and counted again."""
