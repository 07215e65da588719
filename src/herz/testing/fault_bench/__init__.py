"""The fault bench: what a watch must survive, on real servers, counted for a plain client and for Herz side by side."""
