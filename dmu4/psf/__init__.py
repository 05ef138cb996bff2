"""Models of the point-spread function, and the stars to which they are fitted."""
