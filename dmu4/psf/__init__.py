"""Models of the point-spread function, and the stars that they are fitted to."""
