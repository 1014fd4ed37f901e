"""How fast a tracker is here, and which choice is the fastest."""
