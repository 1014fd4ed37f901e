"""What a board is and has: the boards that are known, and what is read off a recording of one."""
