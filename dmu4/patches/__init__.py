"""All bands of a patch on common pixels."""
