"""Reports of runs side by side, made from their folders alone: no service is asked, no model loaded."""
