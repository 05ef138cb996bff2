"""How quanta are run, on this machine or through BPS, and what became of each."""
