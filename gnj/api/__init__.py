"""The faces of gnj: requests in, responses out, free of any web framework."""
